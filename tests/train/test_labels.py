"""Runs with labels: what they leave, that they go on byte for byte, and what their pairs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil.errors import AdapterError, DataError, TrainError
from postil.model.entities import Entity, read_entities, write_entities
from postil.model.pair import open_pair
from postil.records import Example
from postil.store import sha256
from postil.train import read_adapter, run
from tests.models import build_encoder, dialogue
from tests.runs import adapter_hashes, laid_out

if TYPE_CHECKING:
    from tests.models import Build

WORDS = {"dress": "衣服", "tea cup": "杯子", "手机壳": "手机"}


def silent(event: Any) -> None:
    pass


def texts(count: int) -> list[Example]:
    words = list(WORDS)
    return [
        dialogue(
            ("user", f"{i} 新款 {words[i % 3]} {'夏季' * (i % 2)}"), ("assistant", WORDS[words[i % 3]]), rows=(i + 2,)
        )
        for i in range(count)
    ]


def tagged(count: int) -> list[Example]:
    made = []
    for example in texts(count):
        text = example.question[-1].content
        word = next(word for word in WORDS if word in text)
        start = text.index(word)
        marks = write_entities([Entity(start, start + len(word), WORDS[word], word)])
        made.append(dialogue(("user", text), ("assistant", marks), rows=example.rows))
    return made


MADE = {"seq_cls": texts, "token_cls": tagged}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize(("task", "family"), [("seq_cls", "qwen2"), ("seq_cls", "bert"), ("token_cls", "qwen2")])
def test_it_learns_and_goes_on(task: str, family: str, base: Build, encoder: Path, tmp_path: Path) -> None:
    path = encoder if family == "bert" else base(family)
    examples = MADE[task](36)
    given: dict[str, Any] = {
        "training": examples[:24], "validation": examples[24:], "task": task, "learning_rate": 2e-2, "n_epochs": 5,
        "evaluations_per_epoch": 1, "patience": 99,
    }  # fmt: skip
    plan = laid_out(tmp_path / "whole", path, **given)
    result = run(tmp_path / "whole", silent)
    assert result["validation_loss"]["tuned"] < 0.5 * result["validation_loss"]["base"]

    if family == "qwen2":
        laid_out(tmp_path / "broken", path, **given)
        stops = iter([*[False] * 8, True])
        with pytest.raises(TrainError):
            run(tmp_path / "broken", silent, stop=lambda: next(stops))
        run(tmp_path / "broken", silent)
        assert adapter_hashes(tmp_path / "broken") == adapter_hashes(tmp_path / "whole")

    pair = open_pair(read_adapter(tmp_path / "whole"))
    questions = [example.question for example in examples[24:]]
    heard: list[int] = []
    tuned = pair.answers(questions, tuned=True, tell=heard.append)
    right = sum(answer.text == example.answer for answer, example in zip(tuned, examples[24:], strict=True))
    assert right >= 9 and heard[-1] == 12
    losses = pair.losses(examples[24:], tuned=True)
    assert losses is not None and sum(losses) / 12 == pytest.approx(
        result["validation_loss"]["tuned"], rel=0.2 if task == "seq_cls" else 0.5
    )
    untouched = pair.answers(questions, tuned=False)
    assert pair.tried(examples[24:], tuned=True) == (tuned, losses)
    assert pair.tried(examples[24:], tuned=False) == (untouched, pair.losses(examples[24:], tuned=False))
    if task == "token_cls":
        assert {answer.text for answer in untouched} == {"[]"}
        assert all(read_entities(answer.text) is not None for answer in tuned)
    else:
        assert {answer.text for answer in untouched} <= set(WORDS.values())
        assert all(abs(sum(chance for _, chance in answer.chances) - 1) < 1e-4 for answer in [*tuned, *untouched])
        if family == "bert":
            assert len({answer.text for answer in untouched}) == 1  # the most frequent label
    said: list[str] = []
    assert pair.stream(questions[0], said.append, tuned=True).text == tuned[0].text
    assert said and pair.losses_of_texts(["x"], tuned=True) is None
    told = json.loads((tmp_path / "whole" / "labels.json").read_text("utf-8"))
    assert set(WORDS.values()) & {label.split("-")[-1] for label in told["labels"]} == set(WORDS.values())
    assert plan.task == task


def test_a_label_that_no_training_row_has_is_told_before_anything_is_loaded(base: Build, tmp_path: Path) -> None:
    examples = texts(12)
    other = dialogue(("user", "x"), ("assistant", "鞋"), rows=(77,))
    laid_out(tmp_path, base("qwen2"), training=examples, validation=[other], task="seq_cls")
    with pytest.raises(DataError) as refused:
        run(tmp_path, silent)
    assert (refused.value.code, refused.value.rows) == ("labels_unknown", (77,))


def test_marks_that_do_not_fit_are_told_with_their_rows(base: Build, tmp_path: Path) -> None:
    examples = tagged(12)
    bad = dialogue(("user", "x"), ("assistant", write_entities([Entity(0, 2, "衣服", "xy")])), rows=(77,))
    laid_out(tmp_path, base("qwen2"), training=[*examples, bad], validation=[], task="token_cls")
    with pytest.raises(DataError) as refused:
        run(tmp_path, silent)
    assert (refused.value.code, refused.value.rows) == ("labels_wrong", (77,))


def test_a_run_goes_on_from_an_adapter_of_the_same_labels_only(base: Build, tmp_path: Path) -> None:
    given: dict[str, Any] = {"task": "seq_cls", "n_epochs": 1, "validation": []}
    laid_out(tmp_path / "first", base("qwen2"), training=texts(12), **given)
    run(tmp_path / "first", silent)
    for name, count, fits in (("same", 12, True), ("other", 11, False)):
        examples = texts(12)[:count] if fits else [
            dialogue(*((m.role, m.content.replace("衣服", "别的")) for m in one.messages)) for one in texts(12)
        ]  # fmt: skip
        laid_out(tmp_path / name, base("qwen2"), training=examples, **given)
        told = json.loads((tmp_path / name / "plan.json").read_text("utf-8"))
        start = {"path": str(tmp_path / "first"), "sha256": sha256(tmp_path / "first" / "adapter_model.safetensors")}
        (tmp_path / name / "plan.json").write_text(json.dumps({**told, "start": start}), encoding="utf-8")
        if fits:
            assert run(tmp_path / name, silent)["updates"] == 3
        else:
            with pytest.raises(AdapterError) as refused:
                run(tmp_path / name, silent)
            assert refused.value.code == "labels_differ"
