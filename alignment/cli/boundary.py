"""Where errors become one paragraph and an exit code, and where the JSON document is printed.

Exit codes: 0 done, 1 failed, 2 wrong use or refused input, 130 and 143 interrupted. With `--json` standard output holds
exactly one JSON document, `{"error": {...}}` where something went wrong; all else goes to standard error.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

import click

from data_recipes.errors import AlignError, Failed, Interrupted, Refused


class Launch(Exception):
    """Raised by a command that wants another one to take this process's place (`--gpus`)."""

    def __init__(self, command: list[str]) -> None:
        super().__init__(" ".join(command))
        self.command = command


def run(program: click.Command, arguments: list[str]) -> int:
    """Runs the command line and returns the exit code; never raises for anything a user can cause."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        with _sigterm_interrupts(), _document_stream(as_json) as stream:
            return _guarded(program, arguments, stream if as_json else None, debug)
    except Launch as launch:
        return replace_process(launch.command)


def _guarded(program: click.Command, arguments: list[str], stream: TextIO | None, debug: bool) -> int:
    try:
        result = program.main(args=arguments, prog_name="align", standalone_mode=False, obj=arguments)
        if isinstance(result, int):  # what `ctx.exit(code)` and --help return
            return result
        _print_document(result, stream)
        return 0
    except Launch:
        raise
    except click.exceptions.NoArgsIsHelpError as bare:  # a group by itself: its help is the answer
        print(bare.format_message(), file=sys.stderr)
        return bare.exit_code
    except BrokenPipeError:
        # The reader of our output is gone (`align runs | head`); what is left in the buffers has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        return _report(error, stream, debug)


def _report(error: BaseException, stream: TextIO | None, debug: bool) -> int:
    """Prints an error for people and, with `--json`, for programs; returns the exit code."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    known = as_align_error(error)
    rank = "" if is_first_process() else f"[process {os.environ['RANK']}] "
    print(f"{rank}error: {known.paragraph()}", file=sys.stderr, flush=True)
    _print_document({**(known.document or {}), "error": error_document(known)}, stream)
    return known.exit_code


def as_align_error(error: BaseException) -> AlignError:
    """Any exception as one of ours, with a paragraph and an exit code."""
    if isinstance(error, AlignError):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "align"
        return Refused(" ".join(error.format_message().split()), where=path, do=f"See {path} --help")
    if isinstance(error, click.ClickException):
        return Failed(error.format_message())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Interrupted(signal.SIGINT)
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error.name or "")):
        return Failed(
            f"the package {error.name} is not installed",
            expected=f"an installation with the extra '{extra}'",
            do=f"pip install -e '.[{extra}]' -c constraints.txt (docs/first-hour.md has the lines for each machine)",
        )
    said = " ".join(str(error).split())[:500] or "no message"
    if number := _system_error(error):
        what, do = SYSTEM[number]
        return Failed(f"{what} ({getattr(error, 'strerror', said)})", where=getattr(error, "filename", None) or "", do=do)
    return Failed(
        f"{type(error).__name__}: {said}", do="This was not foreseen: run again with --debug for the traceback"
    )


FULL = ("the disk is full", "Free some space there; the same command then goes on where it stopped.")
DENIED = ("the system does not allow it", "Ask for the right to read or write there, or name another place.")
SYSTEM = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EACCES: DENIED, errno.EPERM: DENIED, errno.EROFS: DENIED}


def _system_error(error: BaseException) -> int | None:
    """The number of an error of the system that a user can do something about. safetensors gives it in its words only."""
    if isinstance(error, OSError):
        return error.errno if error.errno in SYSTEM else None
    return errno.ENOSPC if "(os error 28)" in str(error) else None


EXTRAS = {
    "train": "torch transformers trl peft datasets accelerate evaluate tokenizers safetensors huggingface_hub psutil scipy "
    "matplotlib pyarrow",
    "data": "datasketch py3langid phonenumbers rouge_score sacrebleu sklearn httpx",
    "collect": "starlette uvicorn markdown_it nh3",
}


def _extra_of(module: str) -> str | None:
    """Which extra brings a package that is missing."""
    top = module.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if top in packages.split()), None)


def error_document(error: AlignError) -> dict[str, Any]:
    """The error for programs."""
    return {
        "kind": type(error).__name__.lower(),
        "message": error.paragraph(),
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "do": error.do,
        "exit_code": error.exit_code,
    }


def _print_document(document: Any, stream: TextIO | None) -> None:
    if stream is not None and is_first_process():
        print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False), file=stream, flush=True)


@contextlib.contextmanager
def _document_stream(as_json: bool) -> Iterator[TextIO]:
    """With `--json`, keeps standard output for the document: whatever libraries print goes to standard error.

    Also below Python (NCCL prints its version with printf), where standard output is a real file.
    """
    if not as_json:
        yield sys.stdout
        return
    if sys.stdout is not sys.__stdout__:  # a test or a notebook put its own stream in place
        document = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield document
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as document, contextlib.redirect_stdout(sys.stderr):
            yield document
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Before and after a stage has handlers of its own, SIGTERM ends the command with 143 and one line."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, _frame: Any) -> None:
    raise Interrupted(number)


def is_first_process() -> bool:
    """Whether this process speaks: the only one, or rank 0 of several."""
    return os.environ.get("RANK", "0") == "0"


def replace_process(command: list[str]) -> int:
    """Puts a command in this process's place, so that signals reach it once and its exit code is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":  # execv there returns to the shell before the child is done
        return subprocess.call(command)
    return os.execv(command[0], command)
