"""Tools that the policy may call while it answers: Python functions by name, shown to it by its chat template.

TRL's engine runs them: it reads a call out of what the policy wrote, calls the function, and lets the policy go on behind its
result. Light until a tokenizer is there: what is wrong with a name must show before torch is loaded.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_recipes.chat_text import tool_call
from data_recipes.errors import Refused
from data_recipes.records import BadRow
from data_recipes.render import Renderer
from data_recipes.templates import pin_today, without_defaults
from reward.scorers import imported, is_rule

from alignment.rewards import code_identity

KEY = "ppo.tools"


@dataclass(frozen=True)
class Tool:
    """One tool. text: as it was named; function: what is called, with typed arguments and a docstring."""

    text: str
    function: Callable

    @property
    def name(self) -> str:
        """What the policy calls it by."""
        return self.function.__name__

    def identity(self) -> dict:
        """What decides whether the same command may continue."""
        return code_identity("tool", self.text, self.function)

    def running(self) -> Callable:
        """The function with its result as text: TRL takes a list for a message of several parts."""
        if asyncio.iscoroutinefunction(self.function):

            @functools.wraps(self.function)
            async def called(*args, **kwargs):
                return str(await self.function(*args, **kwargs))
        else:

            @functools.wraps(self.function)
            def called(*args, **kwargs):
                return str(self.function(*args, **kwargs))

        return called


def named_tools(texts: list[str]) -> list[Tool]:
    """The tools that `module:function` name; the current directory is importable.

    Raises:
        Refused: what cannot be imported, is not there, is no function, or has another's name.
    """
    found: dict[str, Tool] = {}
    for text in texts:
        tool = Tool(text, _function(text))
        if tool.name in found:
            raise Refused(f"two tools are called '{tool.name}'", where=f"{KEY}: {text}", expected="a name of its own for each")
        found[tool.name] = tool
    return list(found.values())


def _function(text: str) -> Callable:
    module, _, name = text.partition(":")
    if not is_rule(text) or not name.isidentifier():
        raise Refused("this names no tool", where=f"{KEY}: {text}", expected="module:function")
    function = getattr(imported(module, f"{KEY}: {text}"), name, None)
    if not callable(function) or not hasattr(function, "__name__"):
        raise Refused(f"the module '{module}' has no function '{name}'", where=f"{KEY}: {text}")
    return function


def schemas(tools: list[Tool]) -> list[dict]:
    """What the chat template shows of each tool, by transformers' own reading of signature and docstring.

    Raises:
        Refused: an argument without a type, or without a line in the docstring.
    """
    from transformers.utils import DocstringParsingException, TypeHintParsingException, get_json_schema

    made = []
    for tool in tools:
        try:
            made.append(get_json_schema(tool.function))
        except (DocstringParsingException, TypeHintParsingException) as error:
            raise Refused(
                f"the model cannot be told what '{tool.name}' does: {error}",
                where=f"{KEY}: {tool.text}",
                expected="a type for each argument, and a docstring with an 'Args:' section that says what each one means",
            ) from error
    return made


def check_known(shown: list | None, tools: list[Tool]) -> None:
    """Raises BadRow where a list of tools shows one that nothing runs."""
    known = {tool.name for tool in tools}
    for schema in shown or []:
        name = schema.get("function", schema).get("name")
        if name not in known:
            raise BadRow("unknown-tool", f"'{name}' is shown to the model and is none of {KEY} ({', '.join(sorted(known))})")


def offer(session, tools: list[Tool]):
    """Lets the policy see the tools, where neither data.tools nor its parent did; returns the tokenizer for TRL's engine.

    Raises:
        Refused: the chat template cannot carry tools, or what it shows is none of them.
    """
    if not tools:
        return session.tokenizer
    reader = reading(session.tokenizer)
    if session.renderer.tools is None:
        session.renderer = Renderer.from_options(session.tokenizer, session.renderer.options, tools=schemas(tools))
        session.tokenizer.chat_template = session.renderer.template_to_save
        return reader
    try:
        check_known(session.renderer.tools, tools)
    except BadRow as error:
        raise Refused(error.detail, where="data.tools, or the parent run's") from error
    return reader


def reading(tokenizer):
    """A copy of the tokenizer that reads calls out of what the policy wrote, for TRL's engine.

    Raises:
        Refused: nobody knows how this chat template writes calls, or it has no form for them.
    """
    from trl.chat_template_utils import add_response_schema, is_chat_template_prefix_preserving, supports_tool_calling

    made = copy.deepcopy(tokenizer)
    made.chat_template = without_defaults(made.chat_template)
    if not supports_tool_calling(made):
        raise Refused("this model's chat template has no form for tool calls and their results", where=KEY,
                      expected="a model whose template knows tools")
    if getattr(made, "response_template", None) is None:
        made.chat_template, ours = _as_trl_knows_it(made.chat_template), made.chat_template
        try:
            add_response_schema(made)
        except ValueError as error:
            raise Refused(
                "nothing says how this model's tool calls are to be read: TRL does not know its chat template, and its "
                "tokenizer brings no response_template",
                where=KEY,
                do="Take a model that TRL knows, or write response_template into its tokenizer_config.json "
                   "(transformers, 'response parsing').",
            ) from error
        made.chat_template = ours
    if not is_chat_template_prefix_preserving(made):
        raise Refused("this model's chat template writes a call otherwise once its result follows", where=KEY,
                      expected="a template that leaves earlier turns as they are")
    return made


def _as_trl_knows_it(template: str) -> str:
    """The template that TRL recognises where ours is its training variant of it, or the same with a pinned day."""
    import trl

    for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja")):
        if pin_today(path.read_text(encoding="utf-8"), []) == template:
            original = path.with_name(path.name.replace("_training", ""))
            return (original if original.is_file() else path).read_text(encoding="utf-8")
    return template


def check_turns(trainer, renderer, name: str) -> None:
    """What the engine puts behind a call is what the template writes there, token by token.

    Raises:
        Refused: it is not; the policy would be asked in another context than it is trained and used in.
    """
    asked, result = {"role": "user", "content": "hi"}, {"role": "tool", "name": name, "content": "probe"}
    called = tool_call(name, "probe")
    try:
        whole = renderer.prompt([asked, called, result])
        turn = renderer.conversation([asked, called])
    except BadRow as error:
        raise Refused(f"this model's chat template cannot carry tool calls ({error})", where=KEY) from error
    if turn + trainer._get_tool_suffix_ids([result]) != whole:
        raise Refused("this model's chat template writes a call's result otherwise than TRL's engine does", where=KEY,
                      expected="a template that ends a call with the model's end token")
