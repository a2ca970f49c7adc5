"""The proof of the labels: good data has no fault in any family, and every seeded bug is caught with its cause."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from postil.errors import ModelError
from postil.locales import LANGUAGES, say
from postil.model import labels
from postil.model.labels import examine, prove
from postil.model.load import load_template
from postil.model.template import Span, Template
from tests.models import CHAT, CHATML, FAMILIES, QWEN3, REASONED, dialogue, titles

LIMIT = 512
ONE = titles(1)[0]


def causes(example, template, limit=LIMIT):
    return {fault.cause for fault in examine(example, template, limit)[1]}


@pytest.fixture
def template(base):
    return load_template(base("qwen2"))


@pytest.fixture
def broken(base):
    """`broken(chat_template, family)`: a tokenizer whose template somebody has changed."""

    def change(text, family="qwen2", **how):
        tokenizer = AutoTokenizer.from_pretrained(str(base(family)))
        tokenizer.chat_template = text
        return Template(tokenizer, stop_ids=[tokenizer.eos_token_id], **how)

    return change


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("thinking", [False, True])
def test_good_data_has_no_fault(base, family, thinking):
    template = load_template(base(family), thinking=thinking)
    weighted = dialogue(("user", "a"), ("assistant", "b", 0), ("user", "c"), ("assistant", "d  e\n\nf ", 0.5))
    odd = dialogue(("user", "价格 <b>5</b> €  🙂"), ("assistant", "｛价格｝\n- 5 €\n\n```x```"))
    decomposed = dialogue(("user", "cafe\N{COMBINING ACUTE ACCENT}"), ("assistant", "e\N{COMBINING ACUTE ACCENT}te"))
    for example in (*titles(4), CHAT, REASONED, weighted, odd, decomposed):
        assert causes(example, template) == set(), example


# ── bugs in the tokens ──


def mutated(template, example=ONE, **change):
    (tokens,) = template.sequences(example)
    return {fault.cause for fault in prove(example, [replace(tokens, **change)], template, LIMIT)}


def weights_of(template, example=ONE):
    (tokens,) = template.sequences(example)
    return list(tokens.weights), tokens.spans[0]


def test_1_everything_masked(template):
    weights, _ = weights_of(template)
    assert "all_masked" in mutated(template, weights=(0.0,) * len(weights))


def test_2_padding_found_by_comparing_ids_masks_the_end(template):
    """The classic: pad == eos, and every token that equals the padding is taken out of the labels."""
    (tokens,) = template.sequences(ONE)
    weights = tuple(0.0 if i == template.tokenizer.eos_token_id else w
                    for i, w in zip(tokens.ids, tokens.weights, strict=True))  # fmt: skip
    assert mutated(template, weights=weights) == {"end_not_learned"}


def test_3_end_token_left_out(template):
    (tokens,) = template.sequences(ONE)
    span = replace(tokens.spans[0], end=tokens.spans[0].end - 1)
    found = mutated(template, ids=tokens.ids[:-1], weights=tokens.weights[:-1], spans=(span,))
    assert found == {"end_not_learned", "answer_changed"}


def test_4_mask_begins_a_token_late(template):
    weights, span = weights_of(template)
    weights[span.start] = 0.0
    assert mutated(template, weights=tuple(weights)) == {"answer_masked"}


def test_5_mask_begins_a_token_early(template):
    weights, span = weights_of(template)
    weights[span.start - 1] = 1.0
    assert mutated(template, weights=tuple(weights)) == {"prompt_learned"}


def test_6_the_whole_prompt_is_learned(template):
    weights, _ = weights_of(template)
    assert mutated(template, weights=(1.0,) * len(weights)) == {"prompt_learned"}


def test_7_an_answer_is_cut_at_the_limit(template):
    (tokens,) = template.sequences(ONE)
    assert causes(ONE, template, len(tokens.ids) - 1) == {"cut"}
    assert causes(ONE, template, len(tokens.ids)) == set()


def test_8_an_answer_was_cut_without_a_word(template):
    (tokens,) = template.sequences(ONE)
    span = tokens.spans[0]
    keep = span.end - 2
    found = mutated(template, ids=tokens.ids[:keep], weights=tokens.weights[:keep], spans=(replace(span, end=keep),))
    assert {"end_not_learned", "answer_changed"} <= found


def test_9_only_the_last_of_several_answers_is_learned(template):
    (tokens,) = template.sequences(CHAT)
    assert "answer_missing" in mutated(template, CHAT, spans=tokens.spans[-1:])


def test_10_a_start_token_too_many(base):
    template = load_template(base("llama3"))
    (tokens,) = template.sequences(ONE)
    start = template.tokenizer.bos_token_id
    span = tokens.spans[0]
    found = mutated(template, ids=(start, *tokens.ids), weights=(0.0, *tokens.weights),
                    spans=(Span(span.start + 1, span.end + 1, span.text),))  # fmt: skip
    assert found == {"double_start", "prompt_differs"}


def test_11_the_generation_prompt_is_missing_from_the_training_prompt(template):
    (tokens,) = template.sequences(ONE)
    span, cut = tokens.spans[0], 3
    ids = tokens.ids[: span.start - cut] + tokens.ids[span.start :]
    weights = tokens.weights[: span.start - cut] + tokens.weights[span.start :]
    found = mutated(template, ids=ids, weights=weights, spans=(Span(span.start - cut, span.end - cut, span.text),))
    assert found == {"prompt_differs"}


def test_12_the_tokens_of_another_row(template):
    (tokens,) = template.sequences(titles(2)[1])
    found = {fault.cause for fault in prove(ONE, [tokens], template, LIMIT)}
    assert {"answer_changed", "prompt_differs", "message_lost"} == found


def test_13_an_answer_with_a_hole_in_its_mask(template):
    example = dialogue(("user", "q"), ("assistant", "one two three four five"))
    weights, span = weights_of(template, example)
    weights[span.start + 3] = 0.0
    assert mutated(template, example, weights=tuple(weights)) == {"answer_masked"}


# ── bugs in the template or the tokenizer ──


def test_14_a_template_without_end_token(broken):
    template = broken(CHATML.replace("{{- '<|im_end|>\\n' }}\n{%- if loop.first", "{{- '\\n' }}\n{%- if loop.first"))
    assert {"end_not_a_token", "end_not_learned"} <= causes(ONE, template)


def test_15_an_end_that_is_ordinary_text(broken):
    template = broken(CHATML.replace("<|im_end|>", "###END###"))
    assert {"end_not_a_token", "end_not_learned"} <= causes(ONE, template)


def test_16_a_template_of_another_model(base):
    """ChatML on a tokenizer that has no such tokens: the marks fall into pieces."""
    tokenizer = AutoTokenizer.from_pretrained(str(base("llama3")))
    tokenizer.chat_template = CHATML
    assert "end_not_a_token" in causes(ONE, Template(tokenizer))


def test_17_a_template_without_generation_prompt(broken):
    template = broken(CHATML.partition("{%- if add_generation_prompt %}")[0])
    assert "answer_changed" in causes(ONE, template)


def test_18_a_template_that_shortens_the_question(broken):
    template = broken(CHATML.replace("message['content'] }}", "message['content'][:12] }}"))
    assert "message_lost" in causes(ONE, template)


def test_19_a_template_that_drops_the_system_prompt_of_longer_dialogues(broken):
    template = broken("{%- if messages | length > 2 %}{% set messages = messages[1:] %}{% endif %}" + CHATML)
    assert "message_lost" in causes(CHAT, template)


def test_20_a_template_that_drops_the_answer(broken):
    with pytest.raises(ModelError) as refused:
        broken("{%- set messages = messages | rejectattr('role', 'equalto', 'assistant') | list %}" + CHATML)
    assert refused.value.code == "template_drops_answer"


def test_21_a_tokenizer_that_loses_characters(base):
    """No byte fallback: an unknown character becomes <unk>."""
    tokenizer = AutoTokenizer.from_pretrained(str(base("mistral")))
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    told["model"]["byte_fallback"] = False
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(told))
    assert "answer_changed" in causes(dialogue(("user", "order"), ("assistant", "好的🙂")), Template(tokenizer))


@pytest.mark.parametrize("text", ["stop <|im_end|> here", "<|im_start|>user\nhi"])
def test_22_marks_of_the_template_in_the_users_text(template, text):
    """They are read as text: nothing ends early, and nothing is refused."""
    assert not causes(dialogue(("user", "q"), ("assistant", text)), template)
    assert not causes(dialogue(("user", text), ("assistant", "a")), template)


def test_23_a_user_who_wrote_the_start_token(base):
    template = load_template(base("untemplated"))
    assert not causes(dialogue(("user", "<s> hi"), ("assistant", "a")), template)


def test_24_a_template_that_loses_a_tool_call(base):
    call = {"function": {"name": "order", "arguments": "{}"}}
    example = dialogue(("user", "q"), ("assistant", "", 1.0, {"tool_calls": [call]}))
    assert causes(example, load_template(base("qwen2"))) == set()
    assert causes(example, load_template(base("phi3"))) == {"answer_changed"}


def test_25_a_template_that_leaves_the_tools_out(base):
    example = dialogue(("user", "q"), ("assistant", "a"), tools=({"type": "function", "function": {"name": "order"}},))
    assert causes(example, load_template(base("qwen2"))) == set()
    assert causes(example, load_template(base("phi3"))) == {"tools_lost"}


def test_26_a_dialogue_that_the_template_cannot_write(base):
    example = dialogue(("user", "a"), ("user", "b"), ("assistant", "c"))
    assert causes(example, load_template(base("llama2"))) == {"template_refuses"}


def test_27_a_dialogue_that_begins_with_an_answer(template):
    greeting = ("assistant", "您好")
    assert causes(dialogue(greeting, ("user", "q"), ("assistant", "a")), template) == {"nothing_asked"}
    assert causes(dialogue((*greeting, 0), ("user", "q"), ("assistant", "a")), template) == set()


def test_28_every_answer_of_weight_0(template):
    assert causes(dialogue(("user", "q"), ("assistant", "a", 0)), template) == {"all_masked"}


def test_29_the_template_strips_reasoning_and_the_answer_is_learned_without_it(base):
    """The trap of training on what the template writes of a whole dialogue, in place of what serving will see."""
    template = load_template(base("deepseek"))
    stripped = dialogue(("user", "What is it?"), ("assistant", "dress"))
    (tokens,) = template.sequences(stripped)
    found = {fault.cause for fault in prove(REASONED, [tokens], template, LIMIT)}
    assert found == {"answer_changed"}


def test_30_reasoning_of_earlier_turns_in_the_prompt(base):
    """Qwen3 drops it in use, so a sequence that keeps it teaches a context that will never come."""
    template = load_template(base("qwen3"), thinking=True)
    example = dialogue(*((m.role, m.content) for m in REASONED.messages), ("user", "sure?"), ("assistant", "yes"))
    assert causes(example, template) == set() and len(template.sequences(example)) == 2
    keeps = Template(template.tokenizer, thinking=True)
    keeps.tokenizer.chat_template = CHATML
    kept = keeps.sequences(example)
    keeps.tokenizer.chat_template = QWEN3
    assert "prompt_differs" in {fault.cause for fault in prove(example, kept, template, LIMIT)}


def test_31_a_wrong_end_token_in_the_generation_config(base):
    tokenizer = AutoTokenizer.from_pretrained(str(base("qwen2")))
    (tokens,) = Template(tokenizer).sequences(ONE)
    inside = tokens.ids[tokens.spans[0].start]
    assert causes(ONE, Template(tokenizer, stop_ids=[inside])) == {"stop_inside"}


def test_every_cause_has_its_sentences_in_both_languages():
    """Every cause that the source can give, not a list that somebody has to keep."""
    source = Path(labels.__file__).read_text("utf-8")
    named = set(re.findall(r'(?:yield |append\(|Fault\()"(\w+)"', source))
    assert len(named) == 15 and {"cut", "all_masked", "tools_lost", "nothing_asked"} <= named
    for cause in named:
        assert all(say(f"issue.label_{cause}.{part}", lang) for part in ("message", "fix") for lang in LANGUAGES)


def test_message_of_a_fault_carries_the_rows(template):
    example = dialogue(("user", "q"), ("assistant", "a", 0), rows=(3, 4))
    assert [fault.rows for fault in examine(example, template, LIMIT)[1]] == [(3, 4)]
