"""What people write stays text: no token with a meaning of its own can come out of it, in training as in serving.

A customer who types `<|im_end|>` or `[/INST]` must not end a turn with it. Before a template writes a dialogue, each
such mark in a text of people is hidden under a name that means nothing; what is left of marks is then the template's
own. The whole is read by a copy of the tokenizer that knows the marks under secret names only, so that the same
characters in a text are ordinary text. A dialogue without marks never comes here: its tokens are the tokenizer's own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

if TYPE_CHECKING:
    from postil.model.template import Tokenizer

# Lower-case letters and digits pass through every template filter, JSON and normaliser; nobody can guess these.
_KEY = f"zq{secrets.token_hex(8)}"
_END = "qz"
_HIDDEN = re.compile(rf"{_KEY}h((?:[0-9a-f]{{2}})*){_END}")
_CUT = f"{_KEY}c{_END}"

_TAG = re.compile(r"</?[a-z][a-z0-9_]*>")  # reasoning, tool calls, HTML (Gemma has tokens for it)
_LOOKS_LIKE_MARK = re.compile(r"[<\[{(|｜#].*[>\]})|｜]", re.DOTALL)
_BRACKETED = re.compile(r"<<?[^<>\s]+>>?|\[[^\[\]\s]+\]|\{[^{}\s]+\}")
_TRUSTED = ("system", "assistant")  # who writes reasoning and calls as they are meant: the operator, and the model


_DEEPEST = 8  # characters that marks are sorted by; beyond them they are compared one by one


@dataclass(frozen=True)
class Words:
    """The marks of one tokenizer and template. tokens: those that are one token; delimiters: texts that the template
    writes between messages; tags: what a model writes for reasoning and calls, and nobody else may."""

    tokens: frozenset[str]
    delimiters: frozenset[str]
    tags: frozenset[str]

    def pattern(self, role: str) -> re.Pattern[str]:
        """What of a text of this role is a mark; the longest first."""
        marks = self.tokens | self.delimiters | (frozenset() if role in _TRUSTED else self.tags)
        return re.compile(_any_of(marks) or r"(?!)")


def _any_of(marks: Iterable[str], depth: int = 0) -> str:
    """A pattern of any of these, the longest first. Those that begin alike stand together: with thousands of marks, a
    text of nothing but their first character would else be compared with each at each place."""
    heads: dict[str, list[str]] = {}
    for mark in marks:
        heads.setdefault(mark[:1], []).append(mark[1:])
    parts = []
    for head, tails in sorted(heads.items(), reverse=True):
        if not head:
            continue
        apart = depth < _DEEPEST and len(tails) > 1
        longest_first = sorted(tails, key=lambda tail: (-len(tail), tail))
        rest = _any_of(tails, depth + 1) if apart else "|".join(map(re.escape, filter(None, longest_first)))
        optional = "?" if "" in tails else ""
        parts.append(re.escape(head) + (f"(?:{rest}){optional}" if rest else ""))
    return "|".join(parts)


def token_marks(tokenizer: Tokenizer) -> frozenset[str]:
    """The tokens that would begin or end something inside a text. Added words and white space are none of them."""
    added = tokenizer.added_tokens_decoder.values()
    special = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    like = {str(token) for token in added if not token.special and _LOOKS_LIKE_MARK.fullmatch(str(token))}
    return frozenset(mark for mark in special | {mark for mark in like if not _TAG.fullmatch(mark)} if mark.strip())


def words_of(tokenizer: Tokenizer, jinja: str, between: Sequence[str]) -> Words:
    """between: what the template writes before, between and after messages, in its order."""
    tokens = token_marks(tokenizer)
    only_tokens = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or r"(?!)")
    delimiters: set[str] = set()
    for place, text in enumerate(between):
        bare = only_tokens.sub("\n", text)
        delimiters.update(_BRACKETED.findall(bare))
        lines = _BRACKETED.sub("\n", bare).splitlines() if place else ()  # first of all may stand a prompt of its own
        delimiters.update(line.strip() for line in lines if _delimits(line.strip()))
    tags = {*_TAG.findall(jinja), *(mark for mark in delimiters if _TAG.fullmatch(mark))}
    return Words(tokens, frozenset(delimiters - tags), frozenset(tags))


def _delimits(line: str) -> bool:
    """`Assistant:` and `### Response:` do; a role's bare name and a comma do not."""
    return any(sign.isalnum() for sign in line) and not all(sign.isalnum() or sign.isspace() for sign in line)


class Marks:
    """Hides the marks in texts of people, and makes tokens of what a template wrote around them."""

    def __init__(self, tokenizer: Tokenizer, words: Callable[[], Words]) -> None:
        """`words` is asked when the first text is looked at."""
        self._tokenizer, self._find_words = tokenizer, words
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._cuts: dict[str, int] = {}

    @cached_property
    def words(self) -> Words:
        return self._find_words()

    # ── hiding ──

    def hide(self, text: str, role: str = "user") -> str:
        """`text` with each mark under a name that means nothing."""
        spans = self._spans(text, role)
        if not spans:
            return text
        parts, at = [], 0
        for start, end in spans:
            parts += [text[at:start], _hidden(text[start:end])]
            at = end
        return "".join([*parts, text[at:]])

    def hide_all(self, node: Any, role: str = "user") -> Any:
        """The same for every text in a JSON value, names of members too."""
        if isinstance(node, str):
            return self.hide(node, role)
        if isinstance(node, Mapping):
            return {self.hide(str(key), role): self.hide_all(part, role) for key, part in node.items()}
        if isinstance(node, list | tuple):
            return [self.hide_all(part, role) for part in node]
        return node

    def _spans(self, text: str, role: str) -> list[tuple[int, int]]:
        """Where the marks stand in a text, in their order."""
        if role not in self._patterns:
            self._patterns[role] = self.words.pattern(role)
        pattern = self._patterns[role]
        spans = [found.span() for found in pattern.finditer(text)]
        normalizer = self._normalizer
        if normalizer is not None:  # what it makes a mark of, only the tokenizer itself can say
            spans += self._normalised(text)
        return _apart(spans)

    def _normalised(self, text: str) -> Iterable[tuple[int, int]]:
        """Where the tokenizer itself sees a mark: some it only sees in another way of writing (full-width, capital)."""
        told = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        ids = self._mark_ids
        return [span for span, token in zip(told.offsets, told.ids, strict=True) if token in ids and span[0] < span[1]]

    @cached_property
    def _normalizer(self) -> Any:
        """What may make a mark out of another text; None where marks are seen as they are written."""
        added = self._tokenizer.added_tokens_decoder.values()
        if not any(token.normalized for token in added):
            return None
        return getattr(getattr(self._tokenizer, "backend_tokenizer", None), "normalizer", None)

    @cached_property
    def _mark_ids(self) -> frozenset[int]:
        marks = self.words.tokens
        return frozenset(i for i, token in self._tokenizer.added_tokens_decoder.items() if str(token) in marks)

    # ── tokens ──

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The tokens of what a template wrote: its own marks are marks, what is hidden is plain text."""
        if not _HIDDEN.search(text):
            return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens))
        if self._deaf is None:
            return self._spelled(text)
        named = self._deaf.named(text)
        return self._deaf.encode(_HIDDEN.sub(self._plainly, named), add_special_tokens)

    def encode_text(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The tokens of a text of people with nothing around it but the tokenizer's own start and end."""
        return self.encode(self.hide(text), add_special_tokens=add_special_tokens)

    def _plainly(self, found: re.Match[str]) -> str:
        """What was hidden. A delimiter that is ordinary text anyhow is cut, so that it is not what the template
        writes; where every sign is a token by itself, a space does it."""
        raw = _shown(found)
        if raw in self.words.tokens or self._deaf is None:
            return raw
        if raw not in self._cuts:
            self._cuts[raw] = self._deaf.cut(raw)
        at = self._cuts[raw]
        return raw[:at] + _CUT + raw[at:] if at else raw[:1] + " " + raw[1:]

    @cached_property
    def _deaf(self) -> _Deaf | None:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        added = {str(token) for token in self._tokenizer.added_tokens_decoder.values()}
        return _Deaf(json.loads(backend.to_str()), self.words.tokens | (self.words.tags & added))

    def _spelled(self, text: str) -> list[int]:
        """For a tokenizer of which no copy can be made: what is hidden is read sign by sign."""
        ids: list[int] = []
        at = 0
        for found in _HIDDEN.finditer(text):
            ids += self._tokenizer.encode(text[at : found.start()], add_special_tokens=False)
            for sign in _shown(found):
                ids += [i for i in self._tokenizer.encode(sign, add_special_tokens=False) if i not in self._mark_ids]
            at = found.end()
        return [*ids, *self._tokenizer.encode(text[at:], add_special_tokens=False)]


class _Deaf:
    """A tokenizer that hears marks under secret names only. told: the tokenizer's own JSON."""

    def __init__(self, told: dict[str, Any], marks: Iterable[str]) -> None:
        self._names = {mark: f"{_KEY}m{number}{_END}" for number, mark in enumerate(sorted(marks))}
        ordered = sorted(self._names, key=lambda mark: (-len(mark), mark))
        self._pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        for token in told["added_tokens"]:
            token["content"] = self._names.get(token["content"], token["content"])
        self._rename(told["model"])
        self._backend = Backend.from_str(json.dumps(told))
        self._backend.no_padding()
        self._backend.no_truncation()
        self._backend.add_tokens([AddedToken(_CUT, normalized=False)])
        self._cut_id = self._backend.token_to_id(_CUT)

    def named(self, text: str) -> str:
        """`text` with its marks under their secret names."""
        return self._pattern.sub(lambda found: self._names[found.group()], text)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        ids = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return [i for i in ids if i != self._cut_id]

    def cut(self, text: str) -> int:
        """Where a text is to be cut so that its tokens become others; 0 where every sign is a token by itself."""
        whole = self.encode(_CUT + text)
        middle = len(text) // 2
        places = sorted(range(1, len(text)), key=lambda place: abs(place - middle))
        return next((at for at in places if self.encode(_CUT + text[:at] + _CUT + text[at:]) != whole), 0)

    def _rename(self, model: dict[str, Any]) -> None:
        """The marks in the vocabulary itself: no merge, and no piece of a text, may lead to them."""
        names, vocabulary = self._names, model.get("vocab")
        if isinstance(vocabulary, dict):
            model["vocab"] = {names.get(piece, piece): number for piece, number in vocabulary.items()}
        elif isinstance(vocabulary, list):
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
        if model.get("merges"):
            model["merges"] = [pair for pair in model["merges"] if not self._leads_to_mark(pair)]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]

    def _leads_to_mark(self, pair: str | Sequence[str]) -> bool:
        left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
        return bool({left, right, left + right} & self._names.keys())


def count_hidden(node: Any) -> int:
    """How many marks are hidden in the texts of a JSON value."""
    if isinstance(node, str):
        return len(_HIDDEN.findall(node))
    if isinstance(node, Mapping):
        return sum(count_hidden(key) + count_hidden(part) for key, part in node.items())
    return sum(map(count_hidden, node)) if isinstance(node, list | tuple) else 0


def show_hidden(text: str) -> str:
    """`text` as people wrote it."""
    return _HIDDEN.sub(_shown, text)


def _hidden(text: str) -> str:
    return f"{_KEY}h{text.encode('utf-8', 'surrogatepass').hex()}{_END}"


def _shown(found: re.Match[str]) -> str:
    return bytes.fromhex(found[1]).decode("utf-8", "surrogatepass")


def _apart(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in their order, those that overlap as one."""
    ordered: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if ordered and start < ordered[-1][1]:
            ordered[-1] = ordered[-1][0], max(end, ordered[-1][1])
        else:
            ordered.append((start, end))
    return ordered
