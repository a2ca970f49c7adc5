"""Both languages say the same things, the code asks only for sentences that exist, and none is left over."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

import postil
from postil.locales import as_argument, in_a_row, knows, say, speak, speak_to_clients

HOUSE = Path(postil.__file__).parent
HAN = re.compile(r"[\u4e00-\u9fff]")
KINDS = {"PostilError", "FileError", "DataError", "PlanError", "ModelError", "TrainError", "AdapterError"}
# where the code stands in a call, and which sentences it stands for
ASKS = {
    **dict.fromkeys(KINDS, (0, ("error.{}.cause", "error.{}.remedy"))),
    "Issue": (0, ("issue.{}.message", "issue.{}.fix")),
    "issue": (0, ("issue.{}.message", "issue.{}.fix")),
    "drop": (1, ("issue.{}.message", "issue.{}.fix")),
    "skip": (1, ("issue.{}.message",)),
    "leave": (1, ("issue.{}.message",)),
    "Finding": (0, ("finding.{}.message", "finding.{}.fix")),
    "Left": (1, ("issue.{}.message",)),
    "Repair": (0, ("repair.{}",)),
    "repair": (0, ("repair.{}",)),
    "take": (2, ("reason.{}",)),
    "say": (0, ("{}",)),
    "title": (0, ("{}",)),
    "message": (0, ("event.{}",)),
}
FILLED_BY_KEYWORDS = {*KINDS, "say", "title"}  # what the call names is what the sentence gets


@dataclass(frozen=True)
class Asked:
    where: str
    keys: tuple[str, ...]
    given: frozenset[str] | None  # None: not to be seen from the call


@cache
def sentences(lang: str) -> dict[str, str]:
    return json.loads((HOUSE / "locales" / f"{lang}.json").read_text("utf-8"))


def placeholders(sentence: str) -> set[str]:
    return {re.split(r"[.\[]", name)[0] for _, name, _, _ in Formatter().parse(sentence) if name is not None}


@cache
def trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(HOUSE)): ast.parse(path.read_text("utf-8")) for path in sorted(HOUSE.rglob("*.py"))}


def asked() -> Iterator[Asked]:
    """Every sentence that a call in the source names in so many words."""
    for file, tree in trees().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            place, forms = ASKS.get(name, (0, ()))
            code = call.args[place] if len(call.args) > place else None
            for text in _literals(code) if forms else ():
                open_ended = any(keyword.arg is None for keyword in call.keywords) or name not in FILLED_BY_KEYWORDS
                given = frozenset(keyword.arg or "" for keyword in call.keywords)
                if name == "say" and "." not in text:
                    continue  # a message of a dialogue that is being put together
                yield Asked(f"{file}:{call.lineno}", tuple(form.format(text) for form in forms),
                            None if open_ended else given - {"rows" if name in KINDS else "lang"})  # fmt: skip


def _literals(node: ast.expr | None) -> list[str]:
    """A literal text, or both of an `a if b else c`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    return [*_literals(node.body), *_literals(node.orelse)] if isinstance(node, ast.IfExp) else []


def test_both_languages_have_the_same_keys() -> None:
    assert sentences("zh").keys() == sentences("en").keys()


def test_both_languages_have_the_same_placeholders() -> None:
    differing = {
        key: (placeholders(sentences("zh")[key]), placeholders(text))
        for key, text in sentences("en").items()
        if placeholders(sentences("zh")[key]) != placeholders(text)
    }
    assert not differing


def test_keys_are_sorted_and_no_sentence_is_blank_or_padded() -> None:
    for lang in ("zh", "en"):
        assert list(sentences(lang)) == sorted(sentences(lang))
        assert not [key for key, text in sentences(lang).items() if not text.strip() or text != text.rstrip(" ")]


def test_every_sentence_that_the_source_names_exists() -> None:
    found = list(asked())
    assert len(found) > 300, "the scan no longer sees the calls"
    assert not [(one.where, key) for one in found for key in one.keys if key not in sentences("en")]


def test_every_call_gives_its_sentences_all_that_they_ask_for() -> None:
    seen = [one for one in asked() if one.given is not None]
    assert len(seen) > 100, "the scan no longer sees the calls"
    lacking = [
        (one.where, key, sorted(placeholders(sentences("en")[key]) - one.given))
        for one in seen
        for key in one.keys
        if placeholders(sentences("en")[key]) - one.given
    ]
    assert not lacking


def test_no_sentence_is_left_over() -> None:
    words, forms = _words_of_the_source()
    unused = [
        key
        for key in sentences("en")
        if not any(form in words or any(one.fullmatch(form) for one in forms) for form in _names(key))
    ]
    assert not unused


def _words_of_the_source() -> tuple[set[str], list[re.Pattern[str]]]:
    """All literal texts, and a pattern for each f-string that begins with a letter."""
    words, forms = set(), set()
    docs = ast.parse((HOUSE.parent / "docs" / "make.py").read_text("utf-8"))
    nodes = [node for tree in (*trees().values(), docs) for node in ast.walk(tree)]
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z0-9_]+" for part in node.values)
            forms.add("".join(map(str, parts)))
    return words, [re.compile(form) for form in forms if form[:1].isalpha()]


def _names(key: str) -> tuple[str, str, str]:
    """How the source may speak of a key: whole, without its last part, or as the bare code."""
    room, _, rest = key.removeprefix("served.").partition(".")
    code, _, part = rest.rpartition(".")
    bare = code if part in ("cause", "remedy", "message", "fix", "label", "help", "loss") else rest
    return key.removeprefix("served."), bare, f"{room}.{bare}"


def test_chinese_is_chinese() -> None:
    names = re.compile(
        r"^(show\.(column|loss|service_.*)|metric\..*|doctor\.(postil|python)|event\.plain|report\..*|money\..*|cli\.wrong\.value)$"
    )
    assert not [key for key, text in sentences("zh").items() if not HAN.search(text) and not names.match(key)]


def test_english_holds_no_chinese() -> None:
    assert not [key for key, text in sentences("en").items() if HAN.search(text)]


def test_english_punctuation_stays_out_of_chinese_sentences() -> None:
    """A half-width comma or full stop between two Chinese characters is a slip of the hand."""
    slip = re.compile(r"[\u4e00-\u9fff][,;:?!.][\u4e00-\u9fff]")
    assert not [key for key, text in sentences("zh").items() if slip.search(text)]


def test_a_reader_of_chinese_is_addressed_in_one_way() -> None:
    assert not [key for key, words in sentences("zh").items() if re.search("(?<!迷)你", words)]


def test_nobody_is_cheered_at() -> None:
    assert not [key for lang in ("zh", "en") for key, text in sentences(lang).items() if re.search("[!！](?!q})", text)]


def test_say_speaks_the_language_that_was_set() -> None:
    speak("zh")
    assert HAN.search(say("error.file_empty.cause"))
    assert not HAN.search(say("error.file_empty.cause", "en"))
    speak("en")
    assert not HAN.search(say("error.file_empty.cause"))


# who meets these stands at a command line: no server says them
AT_A_COMMAND_LINE = {
    "adapter_unfinished", "bad_model_name", "directory_not_empty", "directory_not_writable",
    "export_exists", "interrupted", "run_in_use",
    "needs_unlocked_door", "not_a_vote_sheet", "not_an_adapter", "nothing_to_resume", "plan_unreadable", "port_taken",
    "push_base", "push_public", "push_target", "remote_silent", "run_finished", "run_unfinished",
    "setting_form", "vllm_base", "vote_of_another", "wrong_usage",
}  # fmt: skip


def test_who_has_no_command_line_is_told_of_none() -> None:
    option = re.compile(r"--[a-z]")
    for lang in ("zh", "en"):
        told = {key: text for key, text in sentences(lang).items() if re.match(r"(error|event|issue|parity)\.", key)}
        unserved = {key for key, text in told.items() if option.search(text) and f"served.{key}" not in sentences(lang)}
        assert {key.split(".")[1] for key in unserved} == AT_A_COMMAND_LINE
        served = {key: text for key, text in sentences(lang).items() if key.startswith("served.")}
        assert not [key for key, text in served.items() if option.search(text)]
        assert not [
            key for key, text in served.items() if placeholders(text) - placeholders(told[key.removeprefix("served.")])
        ]


def test_clients_hear_other_words_where_there_are_some() -> None:
    def heard() -> tuple[str, str]:
        speak_to_clients()
        return say("error.several_sheets.remedy", "en"), say("error.file_empty.remedy", "en")

    clients = copy_context().run(heard)
    assert "--sheet" in say("error.several_sheets.remedy", "en") and "--" not in clients[0]
    assert clients[1] == say("error.file_empty.remedy", "en")


def test_no_space_stands_between_chinese_sentences() -> None:
    assert in_a_row("没有数据。", "请换一个文件。") == "没有数据。请换一个文件。"
    assert in_a_row("There is none.", "Take another.", "") == "There is none. Take another."


def test_what_is_not_there_is_a_bug() -> None:
    assert knows("error.file_empty.cause") and not knows("error.file_empty")
    with pytest.raises(KeyError):
        say("no.such.sentence")
    with pytest.raises(ValueError):
        speak("fr")


def test_what_is_filled_into_a_command_is_quoted() -> None:
    """A path with a space, in a command that people copy, must stay one argument."""
    in_command = re.compile(
        r"(?:postil [a-z]|pip install |--(?!set )[a-z-]+ )[^.。，；;:：\n]*?\{(\w+)(?!\w*!q)[^}]*\}"
    )
    assert not [key for lang in ("en", "zh") for key, text in sentences(lang).items() if in_command.search(text)]


@pytest.mark.parametrize("path", ["a b/我的 模型", "it's", 'a"b', "$HOME;rm", "`x`", "*", "~", "", "a\\b", "(1)"])
def test_a_quoted_path_is_one_argument_of_a_shell(path: str) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    told = subprocess.run([shell, "-c", f"printf %s {as_argument(path)}"], capture_output=True, check=True)
    assert told.stdout.decode() == path


def test_a_plain_path_is_left_as_it_is() -> None:
    assert as_argument("运行/标题-2.csv") == "运行/标题-2.csv"
    assert "'a b'" in say("show.next_steps", "en", path="a b")
