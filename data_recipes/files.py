"""Atomic writes and content hashes: the one place where either is done.

A file that is written here is either the old one or the new one, whatever kills the process: the bytes go to a
temporary name beside it, are synced, and take the name by rename.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO

from data_recipes.errors import Refused

CHUNK = 1 << 20


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes `data` to `path` atomically and syncs file and folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes 0600, which a team could not read
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Writes indented JSON atomically; NaN is refused, since no reader agrees on it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path | str, rows: list[dict]) -> None:
    """Writes one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_lines(path: Path | str, lines: Iterable[bytes], *, overwrite: bool = False) -> str:
    """Streams lines into a file, gzipped where its name ends in .gz; the same lines give the same bytes.

    The file gets its name once the last line was taken, so an error while they are made leaves nothing behind.

    Returns:
        "written", or "unchanged" where the file was there already with the same bytes.

    Raises:
        Refused: the file is there with other bytes, and may not be overwritten.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, _packed(file, path) as packed:
            packed.writelines(lines)
        if path.exists() and sha256_file(path) == sha256_file(name):
            os.unlink(name)
            return "unchanged"
        if path.exists() and not overwrite:
            raise Refused("the file is there already and holds something else", where=path, expected="a new name",
                          do="--overwrite replaces it.")
        os.chmod(name, 0o666 & ~_umask())
        move_in(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return "written"


def _packed(file: BinaryIO, path: Path):
    if path.suffix.lower() != ".gz":
        return contextlib.nullcontext(file)
    # neither name nor time go into the header: they would differ each time
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)


def move_in(source: Path, target: Path) -> None:
    """Gives a finished file its name by rename, after syncing its bytes."""
    sync_file(source)
    os.replace(source, target)
    sync_folder(target.parent)


def sync_file(path: Path | str) -> None:
    """Flushes one file to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path | str) -> None:
    """Flushes a folder's entries, so that a rename survives a power cut. Windows cannot open folders."""
    if os.name == "nt":
        return
    sync_file(path)


def take_lock(file: IO) -> None:
    """Locks an open file for this process, until it is closed or the process ends, however it does.

    Raises:
        OSError: another process has it.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """Hex SHA-256 of UTF-8 text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form: sorted keys, no spaces."""
    return sha256_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
