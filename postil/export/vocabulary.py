"""A tokenizer as llama.cpp reads it: tokens, their kinds, merges or scores, and how a text is cut before them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, TokenType

from postil.errors import ExportError
from postil.export.chat import outgoing
from postil.model.template import Template
from postil.records import Message

NEVER = -1e9  # score of a token that no merge makes

# How texts are cut before merging, by the pattern that the tokenizer has; llama.cpp knows each under a name.
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_PATTERNS = {
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_LETTERS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+":
        "llama-bpe",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}"
    r"\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """model: gpt2 (bytes and merges) or llama (sentencepiece's kind, scores); pre: how a text is cut, for gpt2."""

    model: str
    pre: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    spaced: bool  # a space is put before the text


def read_vocabulary(template: Template, size: int) -> Vocabulary:
    """The vocabulary of a template's tokenizer, filled up to the `size` of the model's, or cut there: what transformers
    adds to a tokenizer by itself, the model has no numbers for.

    Raises ExportError `gguf_tokenizer` for kinds that are not byte-pair encoding.
    """
    told = json.loads(template.tokenizer.backend_tokenizer.to_str())
    inner = told["model"]
    if inner.get("type", "BPE") != "BPE":
        raise ExportError("gguf_tokenizer", kind=str(inner.get("type")))
    merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in inner["merges"]]
    by_id = {number: token for token, number in inner["vocab"].items()}
    added = {one["id"]: one for one in told.get("added_tokens", ())}
    by_id.update({number: one["content"] for number, one in added.items()})
    pieces = bool(inner.get("byte_fallback"))
    kinds = [_kind(i, by_id, added, inner, pieces) for i in range(size)]
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(size)]
    return Vocabulary(
        "llama" if pieces else "gpt2", "default" if pieces else _pre(told), tokens, kinds,
        () if pieces else [" ".join(part.replace(" ", "Ġ") for part in pair) for pair in merges],
        _scores(tokens, merges) if pieces else (), pieces and _prepends(told, begins=_begins(template)),
    )  # fmt: skip


def _kind(i: int, by_id: Mapping[int, str], added: Mapping[int, Any], inner: Mapping[str, Any], pieces: bool) -> int:
    if i not in by_id:
        return int(TokenType.UNUSED)
    if pieces and by_id[i] == inner.get("unk_token"):
        return int(TokenType.UNKNOWN)
    if i in added:
        return int(TokenType.CONTROL if added[i]["special"] else TokenType.USER_DEFINED)
    if pieces and len(by_id[i]) == 6 and by_id[i].startswith("<0x") and by_id[i].endswith(">"):
        return int(TokenType.BYTE)
    return int(TokenType.NORMAL)


def _scores(tokens: Sequence[str], merges: Sequence[tuple[str, ...]]) -> list[float]:
    """Sentencepiece joins the neighbours whose result scores best: the first merge that makes a token ranks it."""
    rank: dict[str, int] = {}
    for place, pair in enumerate(merges):
        rank.setdefault("".join(pair), place)
    return [-float(rank[token]) if token in rank else NEVER for token in tokens]


def _parts(told: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """The steps of the pre-tokenizer or the normalizer, in their order."""
    one = told.get(name)
    if not one:
        return
    inner = one.get("pretokenizers") or one.get("normalizers")
    yield from inner or [one]


def _pre(told: Mapping[str, Any]) -> str:
    digits = False
    for part in _parts(told, "pre_tokenizer"):
        if part["type"] == "Split":
            pattern = part["pattern"].get("Regex", "")
            if pattern in _PATTERNS:
                return _PATTERNS[pattern]
        elif part["type"] == "Digits" and part.get("individual_digits"):
            digits = True
        elif part["type"] == "ByteLevel" and part.get("use_regex", True):
            return "smollm" if digits else "gpt-2"
    return "default"


def _prepends(told: Mapping[str, Any], *, begins: bool) -> bool:
    """Whether a space is put before each text that follows a special token, which is what llama.cpp does then.

    begins: whether prompts begin with a special token, so that a space "before the first word" is never put.
    """
    if any(part["type"] == "Prepend" for part in _parts(told, "normalizer")):
        return True
    schemes = [part.get("prepend_scheme", "always") for part in _parts(told, "pre_tokenizer")
               if part["type"] == "Metaspace"]  # fmt: skip
    return "always" in schemes or ("first" in schemes and not begins)


def _begins(template: Template) -> bool:
    """Whether the template itself writes the token that begins a text."""
    start = template.tokenizer.bos_token_id
    return start is not None and template.prompt([Message("user", "x")])[:1] == [start]


def write_vocabulary(writer: GGUFWriter, template: Template, size: int) -> None:
    """The tokenizer, its special tokens and the chat template in the header of a GGUF file."""
    found = read_vocabulary(template, size)
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.kinds)
    if found.model == "gpt2":
        writer.add_token_merges(found.merges)
    else:
        writer.add_token_scores(found.scores)
        writer.add_add_space_prefix(found.spaced)
    _write_special(writer, template)
    writer.add_chat_template(outgoing(template))


def _write_special(writer: GGUFWriter, template: Template) -> None:
    tokenizer = template.tokenizer
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    if start is not None:
        writer.add_bos_token_id(start)
    if end is None:
        end = template.end_id
    if end is not None:
        writer.add_eos_token_id(end)
    if template.end_id is not None and template.end_id != end:
        writer.add_eot_token_id(template.end_id)
    padding = tokenizer.pad_token_id
    if padding is not None:
        writer.add_pad_token_id(padding)
    # what begins a prompt is what the template writes: llama.cpp takes it off there when it adds it itself
    writer.add_add_bos_token(_begins(template))
    writer.add_add_eos_token(False)
