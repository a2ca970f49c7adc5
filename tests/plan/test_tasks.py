"""Which task fits the examples: decided only where no other is possible, else suggested."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from postil.errors import DataError, PlanError
from postil.model.entities import Entity, write_entities
from postil.plan import check_settings, suggestions
from postil.plan.catalog import bases, shape_of
from postil.plan.sizes import adapter_parameters
from postil.plan.tasks import TERMS, longest, settled_task, task_of, terms_of
from postil.records import Base, Example, Message, Task


def made(*answers: str) -> list[Example]:
    return [Example((Message("user", f"question {i}"), Message("assistant", a)), (i,)) for i, a in enumerate(answers)]


MARKS = write_entities([Entity(0, 8, "x", "question")])


@pytest.mark.parametrize(
    ("answers", "task"),
    [(["a", "b"], "causal_lm"), ([MARKS, "[]"], "token_cls"), (["[]", "[]"], "causal_lm"), ([MARKS, "x"], "causal_lm"),
     ([], "causal_lm")],
)  # fmt: skip
def test_only_marks_decide(answers: list[str], task: str) -> None:
    assert task_of(made(*answers), CHAT)[0] == task


@pytest.mark.parametrize(
    ("answers", "codes"),
    [
        (["好评", "差评"] * 10, ["could_be_seq_cls"]),
        (["好评", "差评"], []),  # too few to tell
        ([f"回答 {i}" for i in range(20)], []),
        (["好评"] * 20, []),
        (["这是一段很长很长很长很长很长很长很长的固定回复", "另外一段很长很长很长很长很长很长的固定回复"] * 10, []),
    ],
)
def test_a_closed_set_of_short_answers_is_advised_as_labels(answers: list[str], codes: list[str]) -> None:
    found = suggestions("causal_lm", made(*answers), tagged=False)
    assert [one.code for one in found] == codes
    assert all(
        one.severity == "advice" and one.values["task"] in one.fix(lang) for one in found for lang in ("zh", "en")
    )
    assert suggestions("seq_cls", made(*answers), tagged=False) == ()


def test_answers_that_mark_the_text_are_advised_as_tags() -> None:
    found = suggestions("causal_lm", made(*["x"] * 20), tagged=True)
    assert [one.code for one in found] == ["could_be_token_cls"] and "token_cls" in found[0].fix("zh")


ASKED = Example((Message("user", "q"), Message("assistant", "a")), (2,))
COMPARED = replace(ASKED, rejected="b", rows=(3,))
TEXT = Example((Message("assistant", "once upon a time"),), (4,))
CHAT = bases()[0]
T5 = {"model_type": "t5", "is_encoder_decoder": True, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
      "num_decoder_layers": 8, "num_heads": 8, "vocab_size": 32128, "n_positions": 512}  # fmt: skip
BART = {"model_type": "bart", "d_model": 768, "encoder_layers": 6, "decoder_layers": 3, "decoder_attention_heads": 12,
        "encoder_attention_heads": 12, "decoder_ffn_dim": 3072, "vocab_size": 50265,
        "max_position_embeddings": 1024, "num_hidden_layers": 6}  # fmt: skip
SIDED = Base("t5", shape_of(T5))


def test_the_task_follows_the_base_and_then_the_rows():
    assert task_of([ASKED, COMPARED], CHAT)[0] == "causal_lm"  # some have nothing to compare
    assert task_of([COMPARED], CHAT)[0] == "dpo"
    assert task_of([TEXT], CHAT)[0] == "pretraining"
    assert task_of([COMPARED], SIDED)[:2] == ("seq_2_seq_lm", "task_seq_2_seq_lm")
    assert task_of([], CHAT)[0] == "causal_lm"
    assert settled_task([COMPARED], CHAT, {}) == "dpo"
    assert settled_task([COMPARED], CHAT, {"task": "causal_lm"}) == "causal_lm"
    assert settled_task([ASKED], CHAT, {"task": "pretraining"}) == "pretraining"  # a dialogue can be read as a text


@pytest.mark.parametrize(
    ("task", "examples", "base", "error", "code"),
    [
        ("seq_2_seq_lm", [ASKED], CHAT, PlanError, "task_needs_encoder"),
        ("causal_lm", [ASKED], SIDED, PlanError, "task_needs_decoder"),
        ("dpo", [COMPARED], SIDED, PlanError, "task_needs_decoder"),
        ("dpo", [ASKED, COMPARED], CHAT, DataError, "task_needs_rejected"),
        ("causal_lm", [TEXT], CHAT, DataError, "task_needs_questions"),
        ("seq_2_seq_lm", [TEXT], SIDED, DataError, "task_needs_questions"),
    ],
)
def test_what_cannot_be_is_refused_with_its_rows(task, examples, base, error, code):
    with pytest.raises(error) as refused:
        settled_task(examples, base, {"task": task})
    assert refused.value.code == code and refused.value.cause("zh") and refused.value.remedy("en")
    if error is DataError:
        assert refused.value.rows == ((2,) if task == "dpo" else (4,))


def test_texts_are_cut_where_nobody_says_otherwise():
    assert longest("causal_lm", 8192) == 8192 == longest("causal_lm", 8192, {"max_length": 100})
    assert longest("pretraining", 8192) == 1024 and longest("pretraining", 512) == 512
    assert longest("pretraining", 8192, {"max_length": 256}) == 256
    assert terms_of("dpo").rate < 1 == terms_of("causal_lm").rate


def test_every_task_has_its_terms():
    assert set(TERMS) == set(get_args(Task))
    assert terms_of("no_task").metric is None  # whoever makes a plan of it hears that there is none
    with pytest.raises(PlanError) as refused:
        check_settings({"task": "no_task"})
    assert refused.value.code == "setting_choice"


def test_sizes_of_two_sides():
    shape = shape_of(T5)
    assert (shape.encoder_layers, shape.layers, shape.head_dim, shape.context, shape.gated) == (6, 8, 64, 512, False)
    assert shape.times("q_proj") == 6 + 8 + 8 and shape.times("up_proj") == 6 + 8
    attention, mlp = 22 * 4 * (512 + 512), 14 * 2 * (512 + 2048)
    assert adapter_parameters(shape, 4) == 4 * (attention + mlp)
    assert adapter_parameters(shape, 4, "mlp-only") == 4 * mlp
    bart = shape_of(BART)
    assert (bart.encoder_layers, bart.layers, bart.intermediate, bart.context, bart.heads) == (6, 3, 3072, 1024, 12)


def test_what_is_copied_out_of_the_text_is_no_label():
    rows = [Example((Message("user", f"{i} 红色{noun}"), Message("assistant", noun)), (i,))
            for i in range(20) for noun in ("水壶", "台灯")]  # fmt: skip
    assert suggestions("causal_lm", rows, tagged=False) == ()
