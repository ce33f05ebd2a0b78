"""Files as raw rows, one at a time, each with its place; a row that cannot be read is a `BadRow` in its place.

What one row does never decides what happens to another: each line is decoded and parsed alone, so the outcome is the
same wherever it stands. Only where a file's own structure is broken (a damaged gzip, a JSON list with a hole) is the
whole file refused, since nobody could say where the next row begins.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from data_recipes.conll import iter_conll
from data_recipes.errors import Refused
from data_recipes.records import BadRow
from data_recipes.strict_json import StrictDecoder, check_values, decode_object

MAX_LINE = 64 << 20  # bytes; a longer line is skipped without ever being held in memory
SHOWN = 10_000  # characters of an unreadable row that are kept for the list of rejected rows
BOM = b"\xef\xbb\xbf"
LIST_HINT = "; a file that is one JSON list must have a name in .json"
SPACE = " \t\r\n"
SUFFIXES = {".jsonl": "JSON lines", ".ndjson": "JSON lines", ".json": "JSON", ".csv": "CSV", ".tsv": "TSV",
            ".parquet": "Parquet", ".conll": "CoNLL", ".bio": "CoNLL", ".iob2": "CoNLL"}
OTHER_SUFFIXES = (".txt", ".zip", ".zst", ".bz2", ".xz", ".xlsx", ".yaml", ".yml", ".arrow", ".pkl")

Rows = Iterator[tuple[str, "dict | BadRow"]]


def iter_rows(path: Path | str, notes: list[str] | None = None, columns: tuple[str, ...] = ()) -> Rows:
    """Streams a file's rows as ("file:line", row or BadRow). Parquet counts rows in place of lines.

    Args:
        path: JSON lines, a JSON list, CSV, TSV, CoNLL or Parquet; all but the last also compressed by gzip.
        notes: receives what is worth saying about the file, once it was read to its end.
        columns: names for a CSV or TSV table whose first line is a row already.

    Raises:
        Refused: no such file, an unknown kind of file, or one whose structure is broken.
    """
    path, notes = Path(path), notes if notes is not None else []
    kind = file_kind(path)
    if columns and kind not in ("CSV", "TSV"):
        raise Refused(f"a {kind} file names its columns itself", where=path, expected="names of columns for CSV and TSV only")
    if kind == "Parquet":
        from data_recipes.arrow_rows import iter_parquet

        yield from iter_parquet(path, notes)
        return
    read = {"JSON lines": _json_lines, "JSON": _json, "CoNLL": iter_conll}.get(kind)
    try:
        with _open(path) as file:
            yield from read(file, path, notes) if read else _table(file, path, notes, columns)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"the gzip file is damaged: {error}", where=path, expected="a whole file",
                      do="Copy or compress it again.") from error


def file_kind(path: Path) -> str:
    """What a file is by its name. Raises Refused for names that say nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes = [suffix for suffix in suffixes[:-1] if suffix != ".parquet"]
    if suffixes and suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    raise Refused(f"the file's name does not say what it holds ({path.name})", where=path,
                  expected=f"a name that ends in {', '.join(SUFFIXES)}, or in .gz after one of the text kinds",
                  do="Rename or convert it; a plain text becomes JSON lines with the one field `text`.")


def _open(path: Path) -> BinaryIO:
    """The file's bytes, unpacked; whether it is gzip is seen from its first bytes, whatever its name."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise Refused(f"the file cannot be read: {error.strerror}", where=path) from error
    if start[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if path.suffix.lower() == ".gz" and start:
        raise Refused("the name ends in .gz, but the file is not gzip", where=path, do="Rename it.")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") and start.count(0) * 4 > len(start):  # more than one odd first row
        raise Refused("the file is UTF-16", where=path, expected="UTF-8", do="Save it again as UTF-8.")
    return open(path, "rb")


# ---------------------------------------------------------------------------------------------------------- JSON lines


def _json_lines(file: BinaryIO, path: Path, notes: list[str]) -> Rows:
    decoder, blank = StrictDecoder(), 0
    for number, line in enumerate(_lines(file), 1):
        if number == 1 and line is not None and line.startswith(BOM):
            line = line[len(BOM):]
            notes.append(f"{path}: begins with a byte order mark, which was left out")
        if line is not None and not line.strip():
            blank += 1
            continue
        yield f"{path}:{number}", _parse_line(decoder, line)
    _note_blank(blank, path, notes)


def _lines(file: BinaryIO, limit: int = MAX_LINE) -> Iterator[bytes | None]:
    """Lines as bytes; None in place of a line longer than `limit` bytes."""
    while line := file.readline(limit + 1):
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        while rest := file.readline(limit):
            if rest.endswith(b"\n"):
                break
        yield None


def _parse_line(decoder: StrictDecoder, line: bytes | None) -> dict | BadRow:
    if line is None:
        return BadRow("too-long", f"the line is longer than {MAX_LINE >> 20} MiB")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line is not UTF-8"
        return BadRow("bad-encoding", detail, shorten(line.decode("utf-8", "backslashreplace")))
    try:
        if "\0" in text:
            raise BadRow("bad-encoding", f"a NUL character at character {text.index(chr(0)) + 1} of the line")
        row = decode_object(decoder, text)
        check_values(row)
        return row
    except BadRow as error:
        hint = LIST_HINT if error.reason in ("bad-json", "wrong-type") and text.lstrip().startswith("[") else ""
        return BadRow(error.reason, error.detail + hint, shorten(text.strip()))


def shorten(text: str) -> str:
    """A text of bounded length for the list of rejected rows."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def _note_blank(count: int, path: Path, notes: list[str]) -> None:
    if count:
        notes.append(f"{path}: {count} blank line{'s' if count > 1 else ''}, not counted as rows")


# ---------------------------------------------------------------------------------------------------------- JSON lists


def _json(file: BinaryIO, path: Path, notes: list[str]) -> Rows:
    """A list of rows (held in memory whole), or JSON lines named .json; the first character says which."""
    data = file.read()
    # bytes that are not UTF-8 are carried along as surrogates, so that only their own row is refused
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    start = len(text) - len(text.lstrip(SPACE))
    if text[start:start + 1] == "[":
        if data.startswith(BOM):
            notes.append(f"{path}: begins with a byte order mark, which was left out")
        yield from _json_list(text, start + 1, path)
        return
    _refuse_one_object(text, start, path)
    notes.append(f"{path}: holds JSON lines, though its name says JSON")
    yield from _json_lines(io.BytesIO(data), path, notes)


def _refuse_one_object(text: str, start: int, path: Path) -> None:
    try:
        value, end = StrictDecoder().decode(text, start)
    except BadRow:
        return  # no single value, so the lines are looked at one by one, and each says what is wrong with it
    if not isinstance(value, dict) or text[end:].strip(SPACE):
        return
    lists = (key for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict))
    held = next(lists, "")
    under = f"; if its rows are the list under {held[:40]!r}, write that list alone into the file" if held else ""
    raise Refused("the file holds one JSON object and no list of rows", where=path,
                  expected="a list [{...}, {...}] or one object a line",
                  do=f"If the object is the one row, put it into [ ]{under}.")


def _json_list(text: str, at: int, path: Path) -> Rows:
    """Elements of the list whose first one is looked for at `at`, each with the line it begins on.

    From the second element on one line on its number there follows, "file:1.2": many lists stand on a single line.
    """
    decoder, line, on_line = StrictDecoder(), 1 + text.count("\n", 0, at), 1
    position = _skip(text, at)
    line += text.count("\n", at, position)
    closed = text[position:position + 1] == "]"
    while not closed:
        try:
            value, end = decoder.decode(text, position)
        except BadRow as error:
            raise _broken_list(path, line, error.detail) from error
        yield f"{path}:{line}{f'.{on_line}' if on_line > 1 else ''}", _element(value, decoder.fault(), text[position:end])
        after = _skip(text, end)
        closed, comma = text[after:after + 1] == "]", text[after:after + 1] == ","
        if not closed and not comma:
            raise _broken_list(path, line, "a comma or ] is missing")
        following = after if closed else _skip(text, after + 1)
        breaks = text.count("\n", position, following)
        line, on_line, position = line + breaks, 1 if breaks else on_line + 1, following
    if text[_skip(text, position + 1):]:
        raise _broken_list(path, line, "there is more text after the list's end")


def _skip(text: str, at: int) -> int:
    while text[at:at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _element(value: Any, fault: BadRow | None, text: str) -> dict | BadRow:
    try:
        if fault:
            raise fault
        if not isinstance(value, dict):
            raise BadRow("wrong-type", "a row must be an object {...}")
        check_values(value)
        return value
    except BadRow as error:
        return BadRow(error.reason, error.detail, shorten(text))


def _broken_list(path: Path, line: int, detail: str) -> Refused:
    return Refused(f"the JSON list is broken: {detail}", where=f"{path}:{line}", expected="a list [{...}, {...}]",
                   do="Mend it, or write one object a line (.jsonl), where a bad row can be told from the next.")


# -------------------------------------------------------------------------------------------------------------- tables


def _table(file: BinaryIO, path: Path, notes: list[str], columns: tuple[str, ...] = ()) -> Rows:
    """CSV or TSV; the first line names the columns, unless `columns` does. All values are text, none is converted."""
    csv.field_size_limit(MAX_LINE)  # process-wide in the csv module; its default of 128 KiB refuses long chats
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    reader = csv.reader(text, delimiter="\t" if file_kind(path) == "TSV" else ",", strict=True)
    header = _header(list(columns) or next(reader, []), path, notes)
    blank, line = 0, reader.line_num + 1
    while (cells := _next_cells(reader, line, path)) is not None:
        if isinstance(cells, BadRow):
            yield f"{path}:{line}", cells
        elif cells:
            yield f"{path}:{line}", _cells_row(header, cells)
        else:
            blank += 1
        line = reader.line_num + 1
    _note_blank(blank, path, notes)


def _header(cells: list[str], path: Path, notes: list[str]) -> list[str]:
    if cells and cells[0].startswith("\ufeff"):
        notes.append(f"{path}: begins with a byte order mark, which was left out")
        cells[0] = cells[0].removeprefix("\ufeff")
    try:
        check_values(dict.fromkeys(cells))
    except BadRow as error:
        raise Refused(f"the first line cannot be read: {error.detail}", where=f"{path}:1", expected="UTF-8 text",
                      do="Save the table again as UTF-8.") from error
    for name in cells:
        if not name.strip() or cells.count(name) > 1:
            raise Refused(f"the first line has {'a column without a name' if not name.strip() else f'{name!r} twice'}",
                          where=f"{path}:1", expected="one name for each column, all different")
    return cells


def _next_cells(reader, line: int, path: Path) -> list[str] | BadRow | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise Refused("a quoted value that begins here never ends", where=f"{path}:{line}",
                          expected="a closing quote; a quote inside of a value is written twice") from error
        return BadRow("bad-csv", str(error))


def _cells_row(header: list[str], cells: list[str]) -> dict | BadRow:
    if len(cells) != len(header):
        found = shorten(repr(cells))
        return BadRow("wrong-columns", f"{len(cells)} values, where the first line names {len(header)} columns", found)
    row = dict(zip(header, cells, strict=True))
    try:
        check_values(row)
    except BadRow as error:
        return BadRow(error.reason, error.detail, row)
    return row
