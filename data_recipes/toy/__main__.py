"""`python -m data_recipes.toy --output DIR --seed 0`: writes the toy world's data sets."""

from __future__ import annotations

import argparse

from data_recipes.toy.write import write


def main(arguments: list[str] | None = None) -> None:
    """Parses, writes, prints one line a file."""
    parser = argparse.ArgumentParser(prog="python -m data_recipes.toy", description="Write the toy world's data sets.")
    parser.add_argument("--output", required=True, help="folder for the JSONL files")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    options = parser.parse_args(arguments)
    for name, rows in write(options.output, options.seed).items():
        print(f"{options.output}/{name}.jsonl: {rows} rows")


if __name__ == "__main__":
    main()
