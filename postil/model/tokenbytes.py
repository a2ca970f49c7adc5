"""The bytes of a token: of a Chinese character that takes several tokens, each has its own, and none has its text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@lru_cache(maxsize=4)
def bytes_by(tokenizer: Any) -> Callable[[int], bytes]:
    """What tells the bytes of the tokens of `tokenizer`, by id."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    kinds = _kinds(json.loads(decoder.__getstate__())) if decoder is not None else set()
    added = tokenizer.added_tokens_decoder

    def told(token: int) -> bytes:
        piece = str(added[token]) if token in added else tokenizer.convert_ids_to_tokens(token)
        if token in added or piece is None:
            return (piece or "").encode()
        if "ByteLevel" in kinds:
            return bytes(byte for sign in piece for byte in _LETTERS.get(sign, sign.encode()))
        found = _BYTE.fullmatch(piece)
        if found and "ByteFallback" in kinds:
            return bytes([int(found[1], 16)])
        if kinds & {"Metaspace", "Replace"}:
            return str(piece).replace("▁", " ").encode()
        return str(tokenizer.decode([token])).encode()

    return told


def _kinds(decoder: Any) -> set[str]:
    """What a decoder is made of, by the names that tokenizers give."""
    parts = decoder.get("decoders", ()) if isinstance(decoder, dict) else ()
    return {decoder["type"], *(kind for part in parts for kind in _kinds(part))} if decoder else set()


def _letters() -> dict[str, bytes]:
    """The letters of byte-level tokenizers: a byte stands for itself where it can be printed, else from 256 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    letters = {chr(byte): bytes([byte]) for byte in printed}
    return letters | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}


_LETTERS = _letters()
