"""The application: routes, what each error becomes, and the guard before all of it.

    app = make_app(store, settings.plan("127.0.0.1", 8765))
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from data_recipes.collect.model import Conflict, Damaged, StorageFull
from data_recipes.collect.web.lead import Lead
from data_recipes.collect.web.pages import Pages
from data_recipes.collect.web.requests import Door, Stop, go
from data_recipes.collect.web.security import Guard
from data_recipes.collect.web.settings import Settings
from data_recipes.collect.web.work import Work
from data_recipes.errors import AlignError, Refused

THREADS = 8  # each has a connection of its own; more would only wait for the one writer


def make_app(store: Any, settings: Settings) -> Starlette:
    """The page for one collection.

    Args:
        store: an open `Store`; it stays open, and belongs to the caller. settings: see `settings.plan`.
    """
    pages, door = Pages(), Door(store, settings)
    work = Work(store, pages, door, settings)
    lead = Lead(store, pages, door, work)
    return Starlette(
        routes=routes(work, lead, pages),
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers=handlers(work),
        lifespan=_few_threads,
    )


def routes(work: Work, lead: Lead, pages: Pages) -> list[Route]:
    """Every address there is."""
    return [
        Route("/", lambda request: go("/work")),
        Route("/health", lambda request: PlainTextResponse("ok\n")),
        Route("/static/{name}", lambda request: static(pages, request)),
        Route("/join/{link}", work.link),
        Route("/join", work.join, methods=["POST"]),
        Route("/leave", work.leave, methods=["POST"]),
        Route("/work", work.item),
        Route("/entry", work.entry, methods=["POST"]),
        Route("/release", work.release, methods=["POST"]),
        Route("/guidelines", work.guidelines),
        Route("/mine", work.mine),
        Route("/lead", lead.overview),
        Route("/lead/stats", lead.stats),
        Route("/lead/settle/{item:int}", lead.settle),
        Route("/lead/export", lead.export),
    ]


def static(pages: Pages, request: Request) -> Response:
    """One of our own files; its address changes with its content, so it may be kept."""
    found = pages.files.get(request.path_params["name"])
    if found is None:
        raise Stop(404, "Not found", "There is no such page.")
    return Response(found[0], headers={"content-type": found[1], "cache-control": "public, max-age=31536000, immutable"})


def handlers(work: Work) -> dict[Any, Any]:
    """What an error becomes: a status, a title, and the paragraph that the error brings with it."""

    def known(status: int, title: str):
        return lambda request, error: work.refused(request, status, title, error.paragraph(), {})

    def stop(request: Request, error: Stop) -> Response:
        return work.refused(request, error.status, error.title, error.text, error.headers)

    def http(request: Request, error: HTTPException) -> Response:
        titles = {404: "Not found", 405: "Not possible"}
        return work.refused(request, error.status_code, titles.get(error.status_code, "Not possible"), error.detail, {})

    return {
        Stop: stop,
        HTTPException: http,
        Conflict: known(409, "Answered already"),
        StorageFull: known(507, "The disk is full"),
        Damaged: known(503, "The collection is damaged"),
        Refused: known(400, "Not taken"),
        AlignError: known(500, "This did not work"),
    }


@contextlib.asynccontextmanager
async def _few_threads(_app: Starlette) -> AsyncIterator[None]:
    import anyio.to_thread

    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
