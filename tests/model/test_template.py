"""Dialogues become tokens as serving will see them, for every kind of chat template."""

import pytest

from postil.errors import ModelError
from postil.model.load import load_template
from postil.model.template import Template
from postil.records import Message
from tests.models import CHAT, FAMILIES, REASONED, dialogue, titles, tokenizer_of

FIRST = (Message("system", "S"), Message("user", "q"))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_follows_exactly_what_serving_asks_with(base, family):
    template = load_template(base(family))
    (tokens,) = template.sequences(titles(1)[0])
    (span,) = tokens.spans
    assert list(tokens.ids[: span.start]) == template.prompt(titles(1)[0].question)
    assert tokens.ids[-1] == template.end_id and tokens.weights[-1] == 1
    assert set(tokens.weights[: span.start]) == {0} and set(tokens.weights[span.start :]) == {1}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_of_a_dialogue_is_learned_once(base, family):
    template = load_template(base(family))
    sequences = template.sequences(CHAT)
    learned = [
        template.tokenizer.decode(s.ids[span.start : span.end - 1]).strip() for s in sequences for span in s.spans
    ]
    wanted = ["It was sent yesterday.", "三天之内。", "Anything else?"]
    assert [text.removeprefix("</think>").strip() for text in learned] == wanted
    assert all(s.ids[span.end - 1] == template.end_id for s in sequences for span in s.spans)
    # these two rewrite earlier turns: there, each answer needs the context of its own
    assert len(sequences) == (3 if family in ("qwen3", "deepseek") else 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_of_weight_0_is_context_only(base, family):
    template = load_template(base(family))
    example = dialogue(("user", "a b"), ("assistant", "wrong words", 0), ("user", "c"), ("assistant", "right", 0.5))
    (tokens,) = template.sequences(example)
    assert [span.text for span in tokens.spans] == ["right"]
    assert "wrong words" in template.tokenizer.decode(tokens.ids[: tokens.spans[0].start])
    assert set(tokens.weights) == {0, 0.5}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("thinking", [False, True])
def test_reasoning_is_learned_though_the_template_strips_it(base, family, thinking):
    template = load_template(base(family), thinking=thinking)
    (tokens,) = template.sequences(REASONED)
    whole = template.tokenizer.decode(tokens.ids)
    assert whole.count("the title says dress") == 1 and whole.count("</think>") == (
        2 if family == "qwen3" and not thinking else 1
    )
    assert whole.endswith("dress" + template.end_text) or whole.endswith("dress " + template.end_text)


def test_a_prompt_that_opens_reasoning_is_closed_before_a_plain_answer(base):
    template = load_template(base("deepseek"))
    (tokens,) = template.sequences(dialogue(("user", "q"), ("assistant", "a")))
    assert template.tokenizer.decode(tokens.ids).endswith("<think>\n\n</think>\n\na<｜end▁of▁sentence｜>")


def test_thinking_is_switched_by_the_template_itself(base):
    closed, open_ = (load_template(base("qwen3"), thinking=on).prompt_text(FIRST) for on in (False, True))
    assert closed.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert open_.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("family", "end", "stops"),
    [
        ("llama3", "<|eot_id|>", {"<|eot_id|>", "<|end_of_text|>"}),
        ("gemma3", "<end_of_turn>", {"<end_of_turn>", "<eos>"}),
        ("phi3", "<|end|>", {"<|end|>", "<|endoftext|>"}),
        ("qwen2", "<|im_end|>", {"<|im_end|>", "<|endoftext|>"}),
        ("untemplated", "</s>", {"</s>"}),
    ],
)
def test_the_end_of_a_turn_is_found_in_the_template(base, family, end, stops):
    template = load_template(base(family))
    assert template.end_text == end
    assert {template.tokenizer.decode([i]) for i in template.stop_ids} == stops


def test_a_system_message_that_the_template_refuses_goes_before_the_first_question(base):
    template = load_template(base("mistral"))
    text = template.prompt_text((Message("system", "Be brief."), Message("user", "Hello?")))
    assert text == "<s>[INST] Be brief.\n\nHello? [/INST]"


def test_the_date_in_a_template_stands_still(base):
    assert "Today Date: 26 Jul 2024" in load_template(base("llama3")).prompt_text(FIRST)


def test_without_a_chat_template_a_plain_one_is_made_and_saved_with_the_tokenizer(base, tmp_path):
    template = load_template(base("untemplated"))
    assert template.own
    assert template.prompt_text(FIRST) == "S\n\nUser:\nq\nAssistant:\n"
    template.tokenizer.save_pretrained(str(tmp_path))
    from transformers import AutoTokenizer

    again = Template(AutoTokenizer.from_pretrained(str(tmp_path)))
    assert again.prompt(FIRST) == template.prompt(FIRST) and again.end_id == template.end_id


def test_without_template_and_end_token_nothing_can_be_learned(base):
    tokenizer = tokenizer_of(FAMILIES["untemplated"])
    tokenizer.eos_token = None
    with pytest.raises(ModelError) as refused:
        Template(tokenizer)
    assert refused.value.code == "no_end_token"


def test_a_template_that_cannot_write_the_dialogue_says_which_rows(base):
    template = load_template(base("llama2"))
    with pytest.raises(ModelError) as refused:
        template.sequences(dialogue(("user", "a"), ("user", "b"), ("assistant", "c"), rows=(5, 6)))
    assert refused.value.code == "template_refuses" and refused.value.rows == (5, 6)
    assert "take turns" in refused.value.values["reason"]


def test_tool_calls_and_tools_are_written_by_the_template(base):
    template = load_template(base("qwen2"))
    call = {"id": "1", "type": "function", "function": {"name": "order", "arguments": '{"id": 7}'}}
    tool = {"type": "function", "function": {"name": "order", "parameters": {"type": "object"}}}
    example = dialogue(
        ("system", "s"), ("user", "Where?"), ("assistant", "", 1.0, {"tool_calls": [call]}), ("tool", "sent"),
        ("assistant", "It was sent."), tools=(tool,),
    )  # fmt: skip
    (tokens,) = template.sequences(example)
    first, second = (template.tokenizer.decode(tokens.ids[s.start : s.end]) for s in tokens.spans)
    # the arguments are an object for the template, though the file has them as JSON text
    assert '{"name": "order", "arguments": {"id": 7}}' in first and second == "It was sent.<|im_end|>"
    assert '"parameters"' in template.prompt_text(example.messages[:2], example.tools)


def test_a_tokenizer_that_puts_a_space_first_adds_none_inside(base):
    template = load_template(base("mistral"))
    (tokens,) = template.sequences(dialogue(("user", "dress"), ("assistant", "dress")))
    assert template.tokenizer.decode(tokens.ids) == "<s>[INST] dress [/INST] dress</s>"
