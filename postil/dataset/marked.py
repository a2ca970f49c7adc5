"""A whole dialogue written into one text with the marks of a prompt format: [INST], ### Human:, <|im_start|>."""

from __future__ import annotations

import re

from postil.dataset.speakers import role_of
from postil.records import Role

_INST = re.compile(r"\[INST\]|\[/INST\]")
_SYS = re.compile(r"<<SYS>>|<</SYS>>")
_HASHES = re.compile(
    r"###\s{0,2}(?P<who>Human|User|Instruction|Input|Question|Assistant|Response|Answer|Output|System)\s{0,2}[:：\n]",
    re.I,
)
_CHATML = re.compile(
    r"<\|im_start\|>(?P<who>[a-z]{1,20})\n|<\|start_header_id\|>(?P<other>[a-z]{1,20})<\|end_header_id\|>"
)
_ENDS = re.compile(r"<\|(?:im_end|eot_id|end_of_text|begin_of_text|endoftext)\|>|</?s>")


def read_marked(text: str) -> list[tuple[Role, str]]:
    """The messages of such a text; empty if it bears no marks, or only one side of them."""
    turns = _chatml(text) or _hashes(text) or _inst(text)
    sides = {role for role, _ in turns}
    return turns if {"user", "assistant"} <= sides else []


def _between(found: list[re.Match[str]], text: str) -> list[str]:
    ends = [match.start() for match in found[1:]] + [len(text)] if found else []
    return [_ENDS.sub("", text[match.end() : end]).strip() for match, end in zip(found, ends, strict=True)]


def _chatml(text: str) -> list[tuple[Role, str]]:
    found = list(_CHATML.finditer(text))
    roles = [role_of(match["who"] or match["other"]) for match in found]
    return [(role, part) for role, part in zip(roles, _between(found, text), strict=True) if role is not None]


def _hashes(text: str) -> list[tuple[Role, str]]:
    found = list(_HASHES.finditer(text))
    before = _ENDS.sub("", text[: found[0].start()]).strip() if found else ""
    turns: list[tuple[Role, str]] = [("system", before)] if before else []
    for match, part in zip(found, _between(found, text), strict=True):
        role = role_of(match["who"]) or "user"
        if turns and turns[-1][0] == role == "user":  # ### Instruction: ... ### Input: ...
            turns[-1] = (role, f"{turns[-1][1]}\n{part}".strip())
        else:
            turns.append((role, part))
    return turns


def _inst(text: str) -> list[tuple[Role, str]]:
    found = list(_INST.finditer(text))
    turns: list[tuple[Role, str]] = []
    for match, part in zip(found, _between(found, text), strict=True):
        pieces = [piece.strip() for piece in _SYS.split(part)]
        if match.group() == "[INST]" and len(pieces) == 3:
            turns.append(("system", pieces[1]))
            part = pieces[2]
        turns.append(("user" if match.group() == "[INST]" else "assistant", part))
    return turns
