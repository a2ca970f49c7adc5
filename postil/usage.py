"""How the command line explains itself, in the language of the person: help, and what was wrong in a command."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from postil.errors import PostilError
from postil.locales import say

# What is raised for a wrong option or a missing file. Typer once used click and now carries it inside, so that the
# class itself has no name that holds for both.
WrongUsage: type[Any] = typer.BadParameter.__bases__[0]

# Typer's own words in a help text: where a heading stands at the beginning of a line, what a bracket begins with.
_WORDS = {
    r"^Usage:": "usage", r"^Arguments:": "arguments", r"^Options:": "options", r"^Commands:": "commands",
    r"\[default:": "default", r"\[required\]": "required", r"Show this\s+message\s+and\s+exit\.": "help",
}  # fmt: skip

# What Typer says of wrong usage, in English only, and our sentence for it.
_CAUSES = (
    (r"Got unexpected extra argument(?:s|\(s\))? \((?P<names>.*)\)", "cli.wrong.extra"),
    (r"No such command '(?P<name>.*?)'.*", "cli.wrong.command"),
    (r"Missing command", "cli.wrong.no_command"),
    (r"Option '(?P<name>.*)' requires an argument", "cli.wrong.no_value"),
    (r"Option '(?P<name>.*)' does not take a value", "cli.wrong.takes_none"),
    (r"Invalid value for '?(?P<name>[^':]*)'?: Input should be a valid integer.*", "cli.wrong.integer"),
    (r"Invalid value for '?(?P<name>[^':]*)'?: Input should be a valid number.*", "cli.wrong.number"),
    (r"Invalid value for '?(?P<name>[^':]*)'?: .*less than or equal to (?P<limit>\S+)", "cli.wrong.most"),
    (r"Invalid value for '?(?P<name>[^':]*)'?: .*greater than or equal to (?P<limit>\S+)", "cli.wrong.least"),
    (r"Invalid value for '?(?P<name>[^':]*)'?: (?P<why>.*)", "cli.wrong.value"),
)


class _Spoken:
    """A command whose help is all in one language: Typer has its headings in English only."""

    def get_help(self, context: Any) -> str:
        return _translated(super().get_help(context))  # type: ignore[misc]

    def get_usage(self, context: Any) -> str:
        return _translated(super().get_usage(context))  # type: ignore[misc]


class Command(_Spoken, TyperCommand):
    """A command of ours."""


class Group(_Spoken, TyperGroup):
    """A group of commands of ours."""


def _translated(text: str) -> str:
    for pattern, name in _WORDS.items():
        text = re.sub(pattern, say(f"cli.word.{name}").replace("\\", r"\\"), text, flags=re.MULTILINE)
    return text


def is_a_call_for_help(error: Any) -> bool:
    """Whether a command was given without any words: its help is then the answer."""
    return type(error).__name__ == "NoArgsIsHelpError"


def usage_of(error: Any) -> str:
    """The line that shows how the command is used, or nothing."""
    return str(error.ctx.get_usage()) if error.ctx is not None else ""


def coded(error: Any) -> PostilError:
    """Wrong usage as an error of ours, with its code."""
    command = error.ctx.command_path if error.ctx is not None else "postil"
    return PostilError("wrong_usage", what=_cause(error), command=command)


def _cause(error: Any) -> str:
    """What is wrong, in our words where it is of a kind that we know."""
    kind = type(error).__name__
    if kind == "MissingParameter" and error.param is not None:
        options = (option for option in error.param.opts if option.startswith("--"))
        return say("cli.wrong.missing", name=next(options, error.param.metavar or error.param.name))
    if kind == "NoSuchOption":
        near = ", ".join(sorted(error.possibilities or ()))
        return say("cli.wrong.option_near" if near else "cli.wrong.option", name=error.option_name, near=near)
    words = str(error.format_message()).strip().rstrip(".。")
    for pattern, key in _CAUSES:
        if match := re.fullmatch(pattern, words, re.DOTALL):
            return _said(key, error, match.groupdict())
    return words


def _said(key: str, error: Any, names: dict[str, str]) -> str:
    """One of `_CAUSES` in our words; a command that does not exist with those that are spelt like it."""
    if key == "cli.wrong.command":
        known = error.ctx.command.list_commands(error.ctx) if error.ctx is not None else []
        near = ", ".join(get_close_matches(names["name"], known, cutoff=0.5))
        return say("cli.wrong.command_near" if near else key, name=names["name"], near=near)
    return say(key, **names)
