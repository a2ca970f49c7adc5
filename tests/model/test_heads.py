"""Models with labels: the head, how texts are read, padding, and that plain PEFT gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import pytest
import torch
import transformers

from postil.errors import AdapterError, DataError, ModelError
from postil.model.adapt import CONFIG, WEIGHTS, attach, config_bytes, to_bytes, weights_of
from postil.model.entities import Entity, write_entities
from postil.model.labelling import lay_out, logits
from postil.model.labelset import LABELS, Labels, labels_of, read_labels, write_labels
from postil.model.load import Loaded, load_base, load_template
from postil.model.reader import Reader
from postil.records import Example, Message
from tests.models import build_encoder, dialogue, plan

if TYPE_CHECKING:
    from tests.models import Build

DECODERS = ["llama3", "llama2", "qwen2", "qwen3", "mistral", "gemma3", "phi"]
NAMES = ("O", "B-product", "I-product", "B-品牌", "I-品牌")
TEXTS = [
    "蓝色连衣裙 dress",
    "tea cup",
    "The order was sent yesterday; it will be with you in three days. 三天之内。",
    "手",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("bert"))


def bases(task: str) -> list[str]:
    return [*(name for name in DECODERS if task == "seq_cls" or name != "gemma3"), "bert"]


CASES = [(task, family) for task in ("seq_cls", "token_cls") for family in bases(task)]


def opened(task: str, family: str, base: Build, encoder: Path) -> tuple[Path, Loaded]:
    path = encoder if family == "bert" else base(family)
    return path, load_base(path, task=task, labels=NAMES, seed=5)


def labelled(loaded: Loaded, task: str) -> list[Any]:
    reader = loaded.template
    assert isinstance(reader, Reader)
    answer = {"seq_cls": "O", "token_cls": "[]"}[task]
    return [reader.labelled(dialogue(("user", text), ("assistant", answer)), NAMES) for text in TEXTS]


def alone(model: Any, sequences: list[Any], reader: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([logits(model, next(lay_out([one], 999, "cpu", reader.padding)), reader) for one in sequences])


@pytest.mark.parametrize(("task", "family"), CASES)
def test_padding_changes_no_logits(task: str, family: str, base: Build, encoder: Path) -> None:
    _, loaded = opened(task, family, base, encoder)
    sequences = labelled(loaded, task)
    reader: Any = loaded.template
    (batch,) = lay_out(sequences, 10_000, "cpu", reader.padding)
    assert batch.mask.sum() < batch.mask.numel()
    with torch.inference_mode():
        together = logits(loaded.model, batch, reader)
    by_itself = alone(loaded.model, [sequences[i] for i in batch.owners], reader)
    torch.testing.assert_close(together, by_itself, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("task", "family"), [("seq_cls", "qwen2"), ("seq_cls", "phi"), ("seq_cls", "bert"),
                                              ("token_cls", "llama3"), ("token_cls", "bert")])  # fmt: skip
def test_plain_peft_gives_the_same_logits(task: str, family: str, base: Build, encoder: Path, tmp_path: Path) -> None:
    """Also with a start of the head that is another one: the whole head is in the adapter."""
    path, loaded = opened(task, family, base, encoder)
    sequences, reader = labelled(loaded, task), loaded.template
    model = attach(loaded.model, plan(task=task), str(path))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
            assert parameter.requires_grad == ("lora_" in name or "modules_to_save" in name), name
    (tmp_path / WEIGHTS).write_bytes(to_bytes(weights_of(model)))
    (tmp_path / CONFIG).write_bytes(config_bytes(model))
    own = alone(model.eval(), sequences, reader)
    torch.manual_seed(99)
    auto = {"seq_cls": transformers.AutoModelForSequenceClassification,
            "token_cls": transformers.AutoModelForTokenClassification}[task]  # fmt: skip
    plainly = peft.PeftModel.from_pretrained(auto.from_pretrained(path, num_labels=len(NAMES)), tmp_path).eval()
    with torch.inference_mode():
        rows = [plainly(input_ids=torch.tensor([one.ids])).logits[0] for one in sequences]
    theirs = torch.cat([row[list(one.places)] if task == "token_cls" else row[None]
                        for row, one in zip(rows, sequences, strict=True)])  # fmt: skip
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


def test_the_head_starts_from_the_seed_alone(base: Build, encoder: Path) -> None:
    for path in (base("qwen2"), encoder):
        torch.manual_seed(1)
        one = load_base(path, task="seq_cls", labels=NAMES, seed=3).model.state_dict()
        torch.manual_seed(2)
        same = load_base(path, task="seq_cls", labels=NAMES, seed=3).model.state_dict()
        other = load_base(path, task="seq_cls", labels=NAMES, seed=4).model.state_dict()
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert {name.split(".")[-2] for name in one if not torch.equal(one[name], other[name])} <= {
            "score", "classifier", "dense"}  # fmt: skip
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_only_the_fresh_head_may_be_missing(base: Build, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in base("qwen2").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as refused:
        load_base(tmp_path, task="seq_cls", labels=NAMES)
    assert refused.value.code == "weights_incomplete"


def test_a_base_without_such_a_head_is_refused(base: Build, encoder: Path) -> None:
    with pytest.raises(ModelError) as refused:
        load_base(base("gemma3"), task="token_cls", labels=NAMES)
    assert refused.value.code == "task_not_for_base"
    with pytest.raises(ModelError) as refused:
        load_template(encoder)
    assert refused.value.code == "base_only_reads"


def example(label: str, row: int = 2) -> Example:
    return dialogue(("user", f"text {row}"), ("assistant", label), rows=(row,))


def test_labels_are_those_of_the_training_examples(tmp_path: Path) -> None:
    training = [example("b", 2), example(" a ", 3), example("b", 4), example("b", 5)]
    labels = labels_of("seq_cls", training, [example("a", 6)])
    assert labels == Labels(("a", "b"), "b")
    write_labels(tmp_path, labels)
    assert read_labels(tmp_path) == labels
    assert labels_of("causal_lm", training) == Labels()
    (tmp_path / LABELS).write_text('{"labels": ["a", 3]}')
    with pytest.raises(AdapterError) as refused:
        read_labels(tmp_path)
    assert refused.value.code == "labels_missing"


@pytest.mark.parametrize(
    ("training", "others", "code", "rows"),
    [
        ([example("a", row) for row in range(2, 9)], [], "labels_too_few", tuple(range(2, 9))),
        ([example(str(row), row) for row in range(9)], [], "labels_not_closed", ()),
        ([example("ab"[row % 2], row) for row in range(9)], [example("c", 20)], "labels_unknown", (20,)),
    ],
)
def test_labels_that_cannot_be_learned(training: Any, others: Any, code: str, rows: tuple[int, ...]) -> None:
    with pytest.raises(DataError) as refused:
        labels_of("seq_cls", training, others)
    assert (refused.value.code, refused.value.rows) == (code, rows)
    assert refused.value.cause("zh") and refused.value.remedy("en")


def test_a_decoder_reads_what_serving_asks(base: Build) -> None:
    reader: Any = load_template(base("qwen2"), task="seq_cls")
    question = (Message("system", "s"), Message("user", "怎么退货？"))
    ids, places = reader.read(question)
    assert ids == load_template(base("qwen2")).prompt(question) and places == [len(ids) - 1]


def test_each_unit_is_asked_once_at_its_last_token(base: Build, encoder: Path) -> None:
    text = "海苔 dress 500g！"
    for path, times in ((base("qwen2"), 2), (encoder, 1)):
        reader: Any = load_template(path, task="token_cls")
        ids, places = reader.read((Message("user", text),))
        assert len(places) == len(["海", "苔", "dress", "500", "g", "！"])
        assert places == sorted(set(places)) and places[-1] <= len(ids) - 1
        if times == 2:
            half = (len(ids) - 1) // 2
            assert ids[:half] == ids[half + 1 :] and places[0] > half


def test_faults_of_marks(base: Build) -> None:
    from postil.model.labels import examine

    reader = load_template(base("qwen2"), task="token_cls")

    def causes(answer: str, max_length: int = 99) -> list[str]:
        made = dialogue(("user", "海苔 dress"), ("assistant", answer))
        return [fault.cause for fault in examine(made, reader, max_length)[1]]

    assert causes(write_entities([Entity(0, 2, "p", "海苔")])) == []
    assert causes(write_entities([Entity(0, 2, "p", "海苔")]), 4) == ["cut"]
    assert causes("海苔") == ["spans_unreadable"]
    assert causes(write_entities([Entity(0, 2, "p", "海菜")])) == ["spans_do_not_fit"]
    assert causes(write_entities([Entity(0, 2, "p", "海苔"), Entity(1, 2, "q", "苔")])) == ["spans_overlap"]
    assert causes(write_entities([Entity(3, 5, "p", "dr")])) == ["span_inside_word"]
