"""Rows of Parquet files and of hub data sets: the readers that need a library, imported when one is asked for."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_recipes import hub
from data_recipes.errors import Refused
from data_recipes.records import BadRow
from data_recipes.strict_json import check_values

BATCH = 1000
OF_CALLS = ("arguments", "parameters")  # below these a null stands for nothing


def iter_parquet(path: Path, notes: list[str]) -> Iterator[tuple[str, dict | BadRow]]:
    """Rows as ("file:row", row or BadRow), rows counted from 1; see `without_absent` for structs.

    Raises:
        Refused: pyarrow is not installed, or the file cannot be read.
    """
    try:
        import pyarrow.parquet
        from pyarrow import ArrowException
    except ImportError as error:
        raise Refused("Parquet needs pyarrow", where=path, do="Install it: pip install pyarrow.") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns = _text_columns(file.schema_arrow, path, notes)
        batches = file.iter_batches(batch_size=BATCH, columns=columns)
        rows = (row for batch in batches for row in _batch_rows(_dates_as_text(batch)))
        for number, row in enumerate(rows, 1):
            yield f"{path}:{number}", row
    except (ArrowException, OSError) as error:
        raise Refused(f"the Parquet file cannot be read: {error}", where=path, do="Write or copy it again.") from error


def _text_columns(schema, path: Path, notes: list[str]) -> list[str]:
    """Columns that JSON could hold; a column of bytes is left out, and said."""
    from pyarrow import types

    is_bytes = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise Refused(f"the column {name!r} is there twice", where=path)
    left = [field.name for field in schema if any(test(field.type) for test in is_bytes)]
    if left:
        notes.append(f"{path}: columns of bytes are left out: {', '.join(left)}")
    return [name for name in schema.names if name not in left]


def _dates_as_text(batch):
    """The batch with its columns of dates, times and decimals as text, which JSON can hold without loss."""
    import pyarrow
    from pyarrow.types import is_decimal, is_temporal

    columns = [
        column.cast(pyarrow.string()) if is_temporal(column.type) or is_decimal(column.type) else column
        for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _batch_rows(batch) -> Iterator[dict | BadRow]:
    try:
        rows = batch.to_pylist()
    except ValueError:  # one bad value spoils the whole batch, so its rows are asked for one by one
        rows = [_one_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
    for row in rows:
        yield row if isinstance(row, BadRow) else _checked(row)


def _one_row(batch) -> dict | BadRow:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRow("bad-encoding", f"a text is not UTF-8: byte 0x{error.object[error.start]:02x}")
    except ValueError as error:
        return BadRow("wrong-type", str(error))


def _checked(row: dict) -> dict | BadRow:
    try:
        check_values(row)
    except BadRow as error:
        return BadRow(error.reason, error.detail, row)
    return {key: without_absent(value) for key, value in row.items()}


def without_absent(value: Any, inside: bool = False) -> Any:
    """The value without the fields that a call's arguments or a function's parameters lack.

    Parquet and Arrow know one shape for a whole column: a struct has each field that any row has, as null where this row has
    none. A chat template would write them all, and the model would learn to call with every argument of every function.
    """
    if isinstance(value, list):
        return [without_absent(item, inside) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if not inside or item is not None}
    return {key: without_absent(item, inside or key in OF_CALLS) for key, item in kept.items()}


def iter_hub(name: str, split: str, notes: list[str], config: str = "") -> Iterator[tuple[str, dict | BadRow]]:
    """Rows of a hub data set (or of a folder that `datasets` can load) as ("name:config:split:row", row or BadRow).

    `datasets` may have turned date-like text into timestamps before this sees it; these are written as text again and
    the columns are named, since their spelling in the source is lost.
    """
    place = ":".join(filter(None, (name, config, split)))
    data = _load(name, config, split, place)
    dates: set[str] = set()
    for number, row in enumerate(data, 1):
        dates.update(key for key, value in row.items() if isinstance(value, (datetime.date, datetime.time)))
        yield f"{place}:{number}", _checked({key: _plain(value) for key, value in row.items()})
    if dates:
        notes.append(f"{name}: came as dates and is now ISO text, maybe unlike the source: {', '.join(sorted(dates))}")


def _plain(value):
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def _load(name: str, config: str, split: str, place: str):
    local = Path(name).is_dir()
    if not local and (closed := hub.closed()):
        raise Refused(f"'{name}' is a hub data set, and {closed}", where=place, expected="a connection to the hub, or a file",
                      do="Give a file, or unset HF_HUB_OFFLINE where that is what switched it off.")
    import datasets

    try:
        if local and (Path(name) / "state.json").is_file():
            return datasets.load_from_disk(name)
        return datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # datasets, huggingface_hub and the network raise some twenty kinds, with no common base
        first = " ".join(str(error).split())[:300] or type(error).__name__
        raise Refused(f"the data set could not be loaded: {first}", where=place,
                      expected="a hub data set owner/name, with :split after it where that is not train, or :subset:split",
                      do="Look at its page for its name, subsets, splits and terms; `hf auth login` where it is gated.",
                      ) from error
