"""The quickstart's offline world: a support desk in which alignment can be measured.

`python -m data_recipes.toy --output DIR --seed 0` writes its data sets, `judge.judge` says how good an answer is, and
`BASE` is a small base model of that world, made by `python -m data_recipes.toy.build_base`.
"""

from __future__ import annotations

from pathlib import Path

from data_recipes import files
from data_recipes.errors import Failed

BASE = Path(__file__).parent / "base"
HASHES = "SHA256SUMS"


def check_base(folder: Path | str = BASE) -> dict[str, str]:
    """Compares each file of the shipped base with its recorded SHA-256 and returns the hashes.

    Raises:
        Failed: a file is missing or differs.
    """
    folder = Path(folder)
    recorded = dict(reversed(line.split("  ", 1)) for line in (folder / HASHES).read_text("utf-8").splitlines())
    for name, digest in recorded.items():
        path = folder / name
        if not path.is_file() or files.sha256_file(path) != digest:
            raise Failed(
                "the shipped base is not the one that was recorded",
                where=path,
                expected=f"SHA-256 {digest}",
                do=f"Fetch it again, or make the base anew: python -m data_recipes.toy.build_base --output {folder}",
            )
    return recorded
