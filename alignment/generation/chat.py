"""The chat session of `align chat`: turns, commands and the model's voice, without a terminal.

`Session.hear(line)` takes what a person typed, a command or a message, and speaks through the two functions that it was
given: `emit` for the answer's pieces, `note` for everything else. Reading lines is the command line's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_recipes.errors import AlignError, Refused
from data_recipes.files import write_json, write_jsonl
from data_recipes.records import BadRow

from alignment.generation.decoding import Decoding, row_seed

Emit = Callable[[str], None]


@dataclass
class Voice:
    """A model that answers: its name, and a function (messages, decoding, on_text) -> `batched.Completion`."""

    name: str
    answer: Callable[[list[dict], Decoding, Emit], Any]


def voice(loaded: Any, name: str) -> Voice:
    """The voice of a loaded policy, with its run's own template and options."""
    from alignment.generation.batched import stream

    renderer = loaded.renderer()

    def answer(messages: list[dict], decoding: Decoding, on_text: Emit) -> Any:
        return stream(loaded, renderer.prompt(messages), decoding, renderer=renderer, on_text=on_text)

    return Voice(name, answer)


class Session:
    """One conversation.

    Args:
        voice: who answers.
        decoding: its settings; each turn and each retry has a seed of its own, derived from the given one.
        system: system prompt; None leaves the run's own.
        load: makes a voice of a run's name, for /compare.
        emit: shows a piece of an answer. note: shows a line that is no answer.
    """

    def __init__(
        self,
        voice: Voice,
        *,
        decoding: Decoding,
        emit: Emit,
        note: Emit,
        system: str | None = None,
        load: Callable[[str], Voice] | None = None,
    ) -> None:
        self.voice, self.decoding, self.system, self.load = voice, decoding, system, load
        self.emit, self.note = emit, note
        self.other: Voice | None = None
        self.turns: list[dict] = []
        self.attempt = 0
        self.saved: set[Path] = set()

    def hear(self, line: str) -> bool:
        """Takes one line; returns False where the person wants to leave."""
        line = line.strip()
        if line in ("/quit", "/exit"):
            return False
        try:
            if line.startswith("/"):
                self._command(line)
            elif line:
                self._say(line)
        except (AlignError, BadRow) as error:
            self.note(str(error))
        return True

    def messages(self) -> list[dict]:
        """The conversation as the renderer takes it."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return system + [dict(turn) for turn in self.turns]

    def transcript(self) -> dict:
        """The conversation as a data row, with what is needed to have it again."""
        return {"messages": self.messages(), "model": self.voice.name, "decoding": self.decoding.as_dict()}

    # ----------------------------------------------------------------------------------------------------------- turns

    def _say(self, text: str) -> None:
        self.attempt = 0
        self._answer([*self.turns, {"role": "user", "content": text}])

    def _answer(self, turns: list[dict]) -> None:
        """Answers the last of `turns`, a user's; where no answer comes, the conversation stays as it was."""
        before, self.turns = self.turns, turns  # messages() shows the turn that is being answered
        try:
            text = self._speak(self.voice, named=self.other is not None)
            if self.other is not None:
                self._speak(self.other, named=True)
        except BaseException:
            self.turns = before
            raise
        if text.strip():
            self.turns = [*turns, {"role": "assistant", "content": text}]
        else:
            self.turns = before
            self.note("The answer was empty; the turn was not kept.")

    def _speak(self, speaker: Voice, *, named: bool) -> str:
        """Streams one answer and returns its text. Ctrl-C ends this answer only; what was said until then stays."""
        pieces: list[str] = []

        def on_text(piece: str) -> None:
            pieces.append(piece)
            self.emit(piece)

        if named:
            self.emit(f"[{speaker.name}]\n")
        decoding = replace(self.decoding, seed=row_seed(self.decoding.seed, len(self.turns), self.attempt))
        try:
            made = speaker.answer(self.messages(), decoding, on_text)
        except KeyboardInterrupt:
            self.emit("\n")
            self.note("(stopped)")
            return "".join(pieces)
        self.emit("\n")
        if not made.stopped:
            self.note(f"(cut: no stop token within {decoding.max_new_tokens} tokens or the model's context)")
        return made.text

    # -------------------------------------------------------------------------------------------------------- commands

    def _command(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            raise Refused(f"there is no command /{name}", expected="one of /" + ", /".join(COMMANDS))
        COMMANDS[name](self, rest.strip())

    def _reset(self, _rest: str) -> None:
        """/reset                forgets the conversation; the system prompt stays"""
        self.turns = []
        self.note("The conversation is empty again.")

    def _retry(self, _rest: str) -> None:
        """/retry                answers the last message anew, with another seed"""
        if len(self.turns) < 2:
            raise Refused("there is no answer to try again", expected="a message first")
        if self.decoding.greedy:
            self.note("Greedy decoding gives the same answer again; start with --temperature above 0 for another.")
        self.attempt += 1
        self._answer(self.turns[:-1])

    def _system(self, rest: str) -> None:
        """/system [TEXT]        sets the system prompt from now on; without text: shows it"""
        if rest:
            self.system = rest
        self.note("System prompt: " + ("the run's own" if self.system is None else self.system))

    def _save(self, rest: str) -> None:
        """/save FILE            writes the conversation as a data row, .json or .jsonl"""
        if not rest:
            raise Refused("/save needs a file's name")
        path = Path(rest.strip("'\"")).expanduser()
        if path.exists() and path.absolute() not in self.saved:
            raise Refused("the file is there already", where=path, do="Choose another name.")
        write = write_jsonl if path.suffix == ".jsonl" else write_json
        try:
            write(path, [self.transcript()])
        except OSError as error:  # the conversation goes on: it would be lost otherwise
            raise Refused(f"the file cannot be written ({error.strerror})", where=path, do="Choose another name.") from error
        self.saved.add(path.absolute())
        self.note(f"Saved {len(self.turns)} turns to {path}.")

    def _compare(self, rest: str) -> None:
        """/compare OTHER_RUN    lets another run answer beside this one; /compare off ends it"""
        if rest in ("", "off"):
            self.other = None
            self.note("One voice again.")
            return
        if self.load is None:
            raise Refused("nothing can be loaded in this session")
        self.other = self.load(rest)
        self.note(
            f"{rest} answers beside {self.voice.name}; the conversation goes on with {self.voice.name}'s answers."
        )
        if len(self.turns) >= 2:
            whole, self.turns = self.turns, self.turns[:-1]
            try:
                self._speak(self.other, named=True)
            finally:
                self.turns = whole

    def _help(self, _rest: str) -> None:
        """/help                 shows this list"""
        for command in COMMANDS.values():
            self.note((command.__doc__ or "").strip())
        self.note("/quit                 leaves, as Ctrl-D does; Ctrl-C ends the present answer")


COMMANDS: dict[str, Callable[[Session, str], None]] = {
    "reset": Session._reset,
    "retry": Session._retry,
    "system": Session._system,
    "save": Session._save,
    "compare": Session._compare,
    "help": Session._help,
}
