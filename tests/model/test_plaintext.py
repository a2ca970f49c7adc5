"""Plain text as tokens: nothing lost, nothing twice, no template."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from postil.model.labels import squeeze
from postil.model.load import load_template
from postil.model.plaintext import beginning, begun, blocks, examine_text, text_of
from postil.model.template import Template
from tests.models import CHAT, dialogue

TEXT = "蓝色连衣裙到了。The order was sent yesterday, and the tea cup too.\n第二段：三天之内到。" * 6


@pytest.mark.parametrize("family", ["qwen2", "llama3", "llama2", "untemplated", "gemma3"])
@pytest.mark.parametrize("most", [16, 33, 4096])
def test_every_token_is_learned_exactly_once(base, family, most):
    template = load_template(base(family))
    made = blocks(TEXT, template, most, (3,))
    tokenizer = template.tokenizer
    whole = [*tokenizer.encode(TEXT), tokenizer.eos_token_id]  # with the start, where the tokenizer writes one
    learned, read = [], 0
    for block in made:
        assert 2 <= len(block.ids) <= most and block.weights[0] == 0.0 and set(block.weights[1:]) == {1.0}
        learned += block.ids[1:]
        read += 1
        assert block.rows == (3,)
    assert learned == whole[1:] and made[0].ids[0] == whole[0]
    assert all(after.ids[0] == before.ids[-1] for before, after in pairwise(made))
    assert (most < 4096) == (read > 1)
    lengths = [len(block.ids) for block in made]
    assert max(lengths) - min(lengths) <= 1
    assert examine_text(dialogue(("assistant", TEXT)), template, most)[1] == []


def test_where_the_tokenizer_writes_a_start_the_first_token_is_learned_too(base):
    tokenizer = AutoTokenizer.from_pretrained(str(base("llama2")))
    start = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    template = Template(tokenizer)
    (made,) = blocks("dress", template, 64)
    assert made.ids == (*tokenizer.encode("dress"), tokenizer.eos_token_id) and made.ids[0] == start
    assert made.weights == (0.0, *[1.0] * (len(made.ids) - 1))
    assert beginning(dialogue(("user", "dr")).messages, template) == tokenizer.encode("dr")


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=60), st.data())
def test_any_text_is_there_again(base, text, data):
    template = load_template(base("qwen2"))
    made = blocks(text, template, data.draw(st.integers(4, 30)))
    ids = [*made[0].ids, *(i for block in made[1:] for i in block.ids[1:])]
    assert squeeze(template.tokenizer.decode(ids[:-1])) == squeeze(text)


def test_what_would_be_learned_wrong(base):
    template = load_template(base("llama3"))
    faults = {fault.cause for fault in examine_text(dialogue(("assistant", "")), template, 64)[1]}
    assert "all_masked" in faults
    assert not examine_text(dialogue(("assistant", "a <|eot_id|> b")), template, 64)[1]


def test_a_text_is_asked_for_by_its_beginning(base):
    example = dialogue(("assistant", TEXT), rows=(9,))
    asked = begun(example)
    question, answer = (message.content for message in asked.messages)
    assert TEXT.startswith(question) and 60 < len(question) <= 160
    assert TEXT[len(question) :].strip().startswith(answer) and asked.rows == (9,)
    template = load_template(base("llama3"))
    assert beginning(asked.question, template) == template.tokenizer.encode(question)
    short = begun(dialogue(("assistant", "好。")))
    assert [message.content for message in short.messages] == ["好", "。"]


def test_a_dialogue_is_read_as_one_text():
    assert text_of(CHAT).splitlines()[:2] == ["You are the shop's assistant.", "Where is my order?"]
