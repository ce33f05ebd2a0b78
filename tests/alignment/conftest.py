"""The libraries load as they do for a command, first and counted as permanent: the tests take a third longer otherwise."""

from alignment import libraries  # noqa: F401
