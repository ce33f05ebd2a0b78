"""`align collect serve`: the page on which people compare answers."""

from __future__ import annotations

from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options

# As in data_recipes/collect/web/settings.py, which help does not import.
PORT = 8765


@command(
    "serve",
    example="""
align collect serve votes.db
align collect serve votes.db --behind-proxy --url https://votes.example.org
align collect serve votes.db --host 0.0.0.0 --url https://box.example.org:8765 --tls-cert cert.pem --tls-key key.pem
""",
)
@click.argument("file", type=click.Path())
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on. [127.0.0.1]")
@click.option("--port", default=PORT, type=click.IntRange(0, 65535), metavar="N", help=f"Port; 0 takes a free one. [{PORT}]")
@click.option("--url", metavar="URL", help="Where people reach the page, if not at that address and port.")
@click.option("--behind-proxy", is_flag=True, help="A proxy in front speaks TLS; its X-Forwarded headers are believed.")
@click.option("--tls-cert", metavar="FILE", help="Certificate in PEM form, to speak TLS without a proxy.")
@click.option("--tls-key", metavar="FILE", help="Its key.")
@output_options
def serve_command(
    file: str,
    host: str,
    port: int,
    url: str | None,
    behind_proxy: bool,
    tls_cert: str | None,
    tls_key: str | None,
    as_json: bool,
) -> dict[str, Any]:
    """Serve the page, and print one link for each person on standard output.

    Each start makes new links; earlier ones hold as well, until align collect invite makes a person's next one. Other
    commands may read the file meanwhile. Ctrl-C stops; what was acknowledged is stored already.
    """
    from data_recipes.collect.store import Store
    from data_recipes.collect.web import serving, settings

    ui = make_ui(as_json)
    serving.check_tls(tls_cert, tls_key)
    reach = {"behind_proxy": behind_proxy, "tls": bool(tls_cert), "url": url}
    settings.plan(host, port, **reach)  # refuses before a port is opened
    with Store.open(file) as store, serving.open_socket(host, port) as listening:
        plan = settings.plan(host, listening.getsockname()[1], **reach)
        made = serving.links(store, plan)
        with serving.ended_by_signal():
            for row in made:
                click.echo(f"{row['name']}  {row['link']}")
            ui.say(f"serving {file} at {plan.url}; Ctrl-C stops")
            serving.serve(store, plan, listening, tls_cert, tls_key)
        votes = sum(row["votes"] for row in store.lists())
    ui.say(f"stopped; {votes} votes are kept")
    return {"url": plan.url, "links": made, "votes": votes}
