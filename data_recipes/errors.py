"""The errors a user meets. Each is one paragraph: what, where, what was expected, what to do.

They live on the ground floor because every floor raises them. The command line prints the paragraph and exits with
`exit_code`; a traceback is shown only with `--debug`.
"""

from __future__ import annotations


class AlignError(Exception):
    """Base of all errors that are meant for the user.

    Args:
        what: what went wrong, a sentence without its full stop.
        where: `file:line`, a config key or a folder; empty where there is no place.
        expected: what would have been right.
        do: what the user can do now.
    """

    exit_code = 1
    document: dict | None = None  # what was found nevertheless; with --json it stands beside the error

    def __init__(self, what: str, *, where: str = "", expected: str = "", do: str = "") -> None:
        self.what, self.where, self.expected, self.do = what, str(where), expected, do
        super().__init__(self.paragraph())

    def paragraph(self) -> str:
        """One paragraph of plain text."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.expected:
            parts.append(f"Expected: {self.expected}")
        if self.do:
            parts.append(self.do)
        return " ".join(part if part.endswith((".", "?", "!", ":")) else part + "." for part in parts)

    def __reduce__(self):  # exceptions with keyword arguments do not pickle by themselves
        return _rebuild, (type(self), self.what, self.where, self.expected, self.do)


def _rebuild(kind, what, where, expected, do):
    return kind(what, where=where, expected=expected, do=do)


class Refused(AlignError):
    """Wrong use or input that is not accepted; nothing was changed. Exit code 2."""

    exit_code = 2


class Failed(AlignError):
    """The work itself failed (a non-finite loss, a broken invariant). Exit code 1."""

    exit_code = 1


class Interrupted(AlignError):
    """A signal stopped the work at a place from which the same command continues. Exit code 128 + signal."""

    def __init__(self, signal_number: int, what: str = "interrupted", **details) -> None:
        self.signal_number = int(signal_number)
        self.exit_code = 128 + self.signal_number
        super().__init__(what, **details)

    def __reduce__(self):
        return Interrupted, (self.signal_number, self.what)
