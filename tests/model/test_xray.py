"""The X-ray shows every token once, and counts what training would refuse."""

from __future__ import annotations

from postil.model.load import load_template
from postil.model.xray import look
from tests.models import Build, titles


def test_good_examples(base: Build) -> None:
    template = load_template(base("qwen2"))
    examples = titles(3)
    found = look(examples, template, 512)
    assert (found["examples"], found["end_token_learned"], found["cut"], found["all_masked"]) == (3, 3, 0, 0)
    for example, row in zip(examples, found["rows"], strict=True):
        learned = "".join(text for text, fate in row["pieces"] if fate == "learned")
        assert learned.startswith(example.answer) and learned != example.answer
        whole = "".join(text for text, _ in row["pieces"])
        assert whole == template.prompt_text(example.question) + learned


def test_what_is_too_long_is_shown_as_cut(base: Build) -> None:
    found = look(titles(2), load_template(base("qwen2")), 16)
    assert found["cut"] == 2
    assert all(any(fate == "cut" for _, fate in row["pieces"]) for row in found["rows"])


def test_labels_are_shown_where_they_are_asked_for(base: Build) -> None:
    template = load_template(base("qwen2"), task="seq_cls")
    example = titles(1)[0]
    found = look([example], template, 512)
    (row,) = found["rows"]
    assert (found["end_token_learned"], found["all_masked"], row["label"]) == (1, 0, example.answer)
    assert [fate for _, fate in row["pieces"]] == ["ignored", "learned"]
    assert "".join(text for text, _ in row["pieces"]) == template.prompt_text(example.question)
