"""The certificate: what is the same passes, and each cause, broken on purpose, is named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from postil import export as room
from postil.errors import ExportError
from postil.export.doors import ByTransformers, open_trainer, rounded_trainer
from postil.export.parity import Certificate, Said, certify, clear
from postil.locales import LANGUAGES
from postil.records import Adapter, Message
from postil.store import read_json, write_json
from tests.export.made import asked, given, nothing, wanted
from tests.models import Build

Break = Callable[[Path], None]


def exported(adapter: Adapter, output: Path, **values: Any) -> Path:
    room.export(adapter, wanted("merged", **values), output, nothing)
    return output


def held(adapter: Adapter, directory: Path, asked_type: str = "float32") -> Certificate:
    return room.hold(adapter, lambda leave: ByTransformers(directory), asked(), asked_type)


@pytest.fixture(scope="module")
def adapter(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return given(base("llama3"), tmp_path_factory.mktemp("adapter"))


def template(change: Callable[[str], str]) -> Break:
    def broken(directory: Path) -> None:
        file = directory / "chat_template.jinja"
        text = change(file.read_text("utf-8"))
        assert text != file.read_text("utf-8"), "nothing was broken"
        file.write_text(text, "utf-8")
        config = read_json(directory / "tokenizer_config.json")
        config.pop("chat_template", None)
        write_json(directory / "tokenizer_config.json", config)

    return broken


def lower_case(directory: Path) -> None:
    """Another tokenizer: the same text becomes other tokens."""
    told = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    told["normalizer"] = {"type": "Lowercase"}
    (directory / "tokenizer.json").write_text(json.dumps(told), "utf-8")


def no_end(directory: Path) -> None:
    config = read_json(directory / "generation_config.json")
    write_json(directory / "generation_config.json", {**config, "eos_token_id": [1]})


def twice(directory: Path) -> None:
    """As if the adapter had been merged twice: one layer more wrong than rounding could make it."""
    weights = load_file(directory / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name] = weights[name] * 2
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


CAUSES: dict[str, tuple[str, Break]] = {
    "another mark between the turns": ("template", template(lambda t: t.replace("<|eot_id|>' }}", "<|eot_id|>:' }}"))),
    "today's date": ("template", template(lambda t: t.replace("26 Jul 2024", "25 Nov 2026"))),
    "a system prompt of its own": ("system_prompt", template(lambda t: t.replace(
        "{{- said + ", "{%- set said = 'You are a helpful assistant.' %}{{- said + "))),
    "the system prompt dropped": ("system_prompt", template(lambda t: t.replace(
        "{{- said + ", "{%- set said = '' %}{{- said + "))),
    "two start tokens": ("bos", template(lambda t: t.replace("bos_token + ", "bos_token + bos_token + "))),
    "no start token": ("bos", template(lambda t: t.replace("bos_token + ", ""))),
    "another tokenizer": ("tokenizer", lower_case),
    "another end token": ("end_token", no_end),
    "other weights": ("weights", twice),
}  # fmt: skip


@pytest.mark.parametrize(("cause", "broken"), CAUSES.values(), ids=CAUSES)
def test_a_broken_export_fails_with_its_cause(adapter: Adapter, tmp_path: Path, cause: str, broken: Break) -> None:
    directory = exported(adapter, tmp_path / "out", check=False)
    broken(directory)
    found = held(adapter, directory)
    assert (found.outcome, found.cause) == ("fail", cause)
    for lang in LANGUAGES:
        assert len(found.lines(lang)) == 4
    told = json.loads(json.dumps(found.as_json()))
    assert told["cause"] == cause and told["same"] == 0 and all(row["cause"] for row in told["rows"])


def test_rounding_to_another_number_type_is_named(adapter: Adapter, tmp_path: Path) -> None:
    """float32 was asked for, and the file holds bfloat16."""
    directory = exported(adapter, tmp_path / "out", type="bfloat16", check=False)
    found = held(adapter, directory)
    assert (found.outcome, found.cause, found.dtype) == ("fail", "dtype", "bfloat16")
    assert 0.02 < found.difference < 1.0
    assert "bfloat16" in " ".join(found.lines("en"))


def test_rounding_is_no_excuse_for_other_weights(adapter: Adapter, tmp_path: Path) -> None:
    directory = exported(adapter, tmp_path / "out", type="bfloat16", check=False)
    twice(directory)
    assert held(adapter, directory).cause == "weights"


def test_quantization_is_named(adapter: Adapter) -> None:
    """A model of four bits where sixteen were asked for."""
    found = room.hold(adapter, lambda leave: rounded_trainer(adapter, "q4_0"), asked(), "float16")
    assert (found.outcome, found.cause, found.dtype) == ("fail", "quantization", "q4_0")


def test_what_is_the_same_passes(adapter: Adapter, tmp_path: Path) -> None:
    directory = exported(adapter, tmp_path / "out")
    told = read_json(directory / "parity.json")
    (certificate,) = told["certificates"]
    assert (told["outcome"], told["cause"]) == ("pass", None)
    assert certificate["same"] == certificate["questions"] == 3 and certificate["difference"] < 1e-4
    page = (directory / "parity.md").read_text("utf-8")
    assert all(line in page for lang in LANGUAGES for line in told["words"][lang])


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "mistral", "llama2", "untemplated", "deepseek", "phi"])
def test_every_kind_of_template_leaves_the_house_whole(base: Build, tmp_path: Path, family: str) -> None:
    """Reasoning off, a fixed day, system prompts where a template knows none: plain transformers writes the same."""
    made = room.export(given(base(family), tmp_path / "a"), wanted("merged"), tmp_path / "out", nothing)
    assert made["parity"]["outcome"] == "pass", made["parity"]["words"]["en"]
    assert made["parity"]["certificates"][0]["difference"] < 1e-3


def test_a_template_that_refuses_is_told(adapter: Adapter, tmp_path: Path) -> None:
    directory = exported(adapter, tmp_path / "out", check=False)
    (directory / "chat_template.jinja").write_text("{{ raise_exception('no dialogues') }}", "utf-8")
    with pytest.raises(ExportError) as refused:
        held(adapter, directory)
    assert refused.value.code == "target_refuses" and "no dialogues" in refused.value.cause()


# ── numbers alone ──


class Fake:
    """A side whose answers a test writes down. Both are given the same prompt."""

    name, dtype, start, end = "fake", "float32", 0, 9
    stops: frozenset[int] | None = frozenset([9])

    def __init__(self, said: Said) -> None:
        self._said = said

    def word(self, token: int) -> str:
        return f"<{token}>"

    def templated(self, question: Any, system: str | None) -> str:
        return "prompt"

    def prompts(self, questions: Any) -> list[Any]:
        from postil.export.parity import Prompt

        return [Prompt((0, 1), "prompt") for _ in questions]

    def say(self, prompts: Any, new: int) -> list[Said]:
        return [self._said for _ in prompts]


def compared(ours: Said, theirs: Said, asked_type: str = "float32") -> Certificate:
    question = [(Message("user", "q"),)]
    return certify(lambda: Fake(ours), lambda: Fake(theirs), question, asked=asked_type, rounded=lambda d: Fake(ours))


def step(token: int, other: int, gap: float) -> dict[int, float]:
    """Log probabilities of a token and of another one that is less likely by `gap` nats."""
    first = -math.log(1 + math.exp(-gap))
    return {token: first, other: first - gap}


def test_a_tie_is_no_failure() -> None:
    ours, theirs = Said((5, 9), (step(5, 6, 0.001), step(9, 1, 3.0)), True), Said((6,), (step(6, 5, 0.001),), False)
    found = compared(ours, theirs)
    assert found.outcome == "pass" and found.rows[0].tie and found.rows[0].parts_at == 0
    assert len(found.lines("zh")) == 2


def test_another_word_that_was_clearly_less_likely_is_a_failure() -> None:
    ours, theirs = Said((5, 9), (step(5, 6, 1.0), step(9, 1, 3.0)), True), Said((6, 9), (step(6, 5, 1.0), {}), True)
    found = compared(ours, theirs)
    assert (found.cause, found.rows[0].parts_at) == ("weights", 0)


@pytest.mark.parametrize("longer", ["ours", "theirs"])
def test_an_answer_that_goes_on_or_ends_too_early_is_a_matter_of_the_end_token(longer: str) -> None:
    short = Said((5, 9), (step(5, 6, 3.0), step(9, 1, 3.0)), True)
    long = Said((5, 9, 5), (step(5, 6, 3.0), step(9, 1, 3.0), step(5, 6, 3.0)), False)
    found = compared(*((long, short) if longer == "ours" else (short, long)))
    assert found.cause == "end_token"


def test_numbers_that_differ_too_much_fail_though_the_words_are_the_same() -> None:
    ours, theirs = (
        Said((5, 9), (step(5, 6, 1.0), step(9, 1, 3.0)), True),
        Said((5, 9), (step(5, 6, 1.5), step(9, 1, 3)), True),
    )
    found = compared(ours, theirs)
    assert found.cause == "weights" and 0.1 < found.difference < 0.6
    assert compared(ours, theirs, "q8_0").outcome == "pass"


def test_parts_of_characters_are_not_compared() -> None:
    assert clear([("a", -1.0), ("\N{REPLACEMENT CHARACTER}", -2.0), ("b", -3.0), ("b", -4.0)]) == {"a": -1.0}


def test_the_trainer_says_what_plain_peft_says(adapter: Adapter) -> None:
    from tests.serve.adapters import ids_by_peft

    trainer = open_trainer(adapter)
    (prompt,) = trainer.prompts(asked(1))
    (said,) = trainer.say([prompt.ids], 8)
    own = ids_by_peft(adapter.base_path, adapter.path, asked(1)[0], 8)
    assert list(said.tokens)[: len(own)] == own
    assert all(said.top[i][token] == max(said.top[i].values()) for i, token in enumerate(said.tokens))
    assert torch.tensor(list(said.top[0].values())).exp().sum() <= 1.0001
