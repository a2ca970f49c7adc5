"""Tokens together have the bytes of their text, in every family of tokenizers."""

from __future__ import annotations

import pytest

from postil.model.load import load_template
from postil.model.tokenbytes import bytes_by
from tests.models import FAMILIES, Build, build_encoder

TEXTS = ("工单闭环 🙂 é", "the  dress\n\n- 5 €", "▁x", "<0x41> <b>")


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_of_tokens_are_those_of_the_text(base: Build, family: str) -> None:
    tokenizer = load_template(base(family)).tokenizer
    raw = bytes_by(tokenizer)
    for text in TEXTS[:2] if FAMILIES[family].spaced else TEXTS:
        parts = [raw(token) for token in tokenizer.encode(text, add_special_tokens=False)]
        assert b"".join(parts).decode().removeprefix(" ") == text, family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_part_of_a_character_has_its_own_bytes(base: Build, family: str) -> None:
    tokenizer = load_template(base(family)).tokenizer
    raw = bytes_by(tokenizer)
    parts = [raw(token) for token in tokenizer.encode("🙂", add_special_tokens=False)]
    parts = [part for part in parts if part != b" "]
    assert len(parts) > 1 and all(len(part) < 4 for part in parts) and b"".join(parts).strip() == "🙂".encode()


def test_a_mark_has_the_bytes_of_its_name(base: Build, tmp_path) -> None:
    tokenizer = load_template(base("deepseek")).tokenizer
    mark = "<｜User｜>"
    assert bytes_by(tokenizer)(tokenizer.convert_tokens_to_ids(mark)) == mark.encode()
    encoder = load_template(build_encoder(tmp_path), task="seq_cls").tokenizer
    assert bytes_by(encoder)(encoder.convert_tokens_to_ids("dress")) == b"dress"
