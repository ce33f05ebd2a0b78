"""Strict YAML, which lies on the ground floor since recipes and style guides are read by it too."""

from data_recipes.strict_yaml import parse, plain, read_file

__all__ = ["parse", "plain", "read_file"]
