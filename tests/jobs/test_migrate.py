"""Jobs of other services: ugly descriptions first, then what each service calls things."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest

from postil.errors import JobError
from postil.jobs import Migration, migrate, read_description
from postil.jobs.migration import _services
from postil.plan import bases, check_settings
from tests.jobs.described import BAILIAN, OPENAI, TOGETHER


def taken(told: Any) -> Migration:
    return migrate(told, bases())


def became(found: Migration) -> dict[str, Any]:
    return {one.theirs: (one.ours, one.becomes) for one in found.mapped}


def left(found: Migration) -> dict[str, str]:
    return {one.theirs: one.reason for one in found.left}


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (None, "description_unknown"), ([], "description_of_many"), ({}, "description_unknown"),
        (7, "description_unknown"),
        ("job", "description_unknown"), ({"model": "qwen3-8b"}, "description_unknown"),
        ({"data": [OPENAI, OPENAI]}, "description_of_many"), ({"output": []}, "description_of_many"),
        ({"output": {"output": {"output": {}}}}, "description_unknown"),
        ({**OPENAI, "extra": {str(i): i for i in range(600)}}, "description_unknown"),
        ({**OPENAI, "method": {"type": "dpo"}}, "method_not_importable"),
        ({**OPENAI, "method": {"type": ["supervised"]}}, "method_not_importable"),
        ({**BAILIAN, "training_type": "dpo_lora"}, "method_not_importable"),
        ({**BAILIAN, "training_type": "cpt"}, "method_not_importable"),
        ({**TOGETHER, "training_method": {"method": "dpo"}}, "method_not_importable"),
    ],
)  # fmt: skip
def test_what_is_no_job_of_theirs_is_refused(told: Any, code: str) -> None:
    with pytest.raises(JobError) as raised:
        taken(told)
    assert raised.value.code == code
    assert raised.value.cause("zh")
    assert raised.value.remedy("en")


@pytest.mark.parametrize(
    "value", [True, [], [1], {}, {"a": 1}, "three", 0, -1, 1e400, "1e999", "NaN", 10**400, "", None, "x" * 9999]
)
def test_a_value_that_cannot_be_set_is_left_out_and_told(value: Any) -> None:
    """Never an exception, never a setting that the plan would refuse."""
    for field in (
        "n_epochs",
        "batch_size",
        "learning_rate",
        "lora_rank",
        "target_modules",
        "lr_scheduler_type",
        "seed",
    ):
        found = taken({**BAILIAN, "training_type": "efficient_sft", "hyper_parameters": {field: value}})
        check_settings(found.settings)
        told = [one for one in (*found.mapped, *found.left) if one.theirs.startswith(f"hyper_parameters.{field}")]
        assert bool(told) == (value not in (None, "", [], {}))
    for name in ("learning_rate_multiplier", "prompt_loss_weight"):
        found = taken({**OPENAI, "method": None, "hyperparameters": {name: value}})
        assert found.learning_rate_multiplier is None or 0 < found.learning_rate_multiplier <= 1e6
        json.dumps(found.as_json(), allow_nan=True)


def test_random_descriptions_are_taken_or_refused_by_name() -> None:
    dice = random.Random(5)
    names = [path.partition(".")[0] for one in ("dashscope", "together", "openai") for path in _services()[one]["left"]]
    names += ["model", "training_file", "training_file_ids", "hyper_parameters", "hyperparameters", "method", "status",
              "metadata", "id", "created_at", "suffix", "training_type", "lr_scheduler"]  # fmt: skip

    def value(depth: int = 0) -> Any:
        kind = dice.randrange(8 if depth < 3 else 6)
        texts = "".join(dice.choices(string.printable + "中文", k=dice.randrange(300)))
        simple = [None, True, dice.random() * 10 ** dice.randrange(-300, 300), dice.randrange(-9, 99), "auto", texts]
        if kind < 6:
            return simple[kind]
        names_below = [*names, "n_epochs", "type", "supervised", "lora_r"]
        return {dice.choice(names_below): value(depth + 1) for _ in range(4)} if kind == 6 else [value(depth + 1)]

    taken_over = 0
    for _ in range(600):
        told = {dice.choice(names): value() for _ in range(12)}
        try:
            found = taken(told)
        except JobError:
            continue
        taken_over += 1
        check_settings(found.settings)
        assert len(found.metadata) <= 16
        assert all(one.why("zh") and one.why("en") for one in found.left)
        order = found.order("qwen3-8b", "file-1")
        assert all(len(name) <= 64 and len(text) <= 512 for name, text in order.metadata.items())
    assert taken_over > 100


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "job.json").write_bytes(data)
    for path in (tmp_path / "job.json", tmp_path / "none.json", tmp_path):
        with pytest.raises(JobError) as raised:
            read_description(path)
        assert raised.value.code == "description_unreadable"


def test_bailian_as_it_is_posted() -> None:
    found = taken(BAILIAN)
    assert (found.service, found.base, found.suffix) == ("dashscope", "qwen3-14b", "客服")
    assert found.training_files == ("86a9fe7f", "03ead352")
    assert dict(found.settings) == {"n_epochs": 3, "batch_size": 32, "max_length": 8192, "lr_scheduler": "linear"}
    assert left(found) == {
        "training_file_ids": "join_files", "hyper_parameters.learning_rate": "full_rate",
        "hyper_parameters.split": "own_split", "training_type": "full_tuning",
    }  # fmt: skip


def test_bailian_as_it_returns() -> None:
    """In its envelope, with LoRA: then the rate is one for an adapter, a text, and is kept."""
    job = {**BAILIAN, "training_type": "efficient_sft", "job_id": "ft-202410291653-1c7f", "status": "SUCCEEDED",
           "create_time": "2024-10-29 16:53:53", "finetuned_output": "qwen3-14b-ft-1", "base_model": "qwen3-14b",
           "usage": {"tokens": 3}, "training_file_ids": ["one"], "validation_file_ids": []}  # fmt: skip
    found = taken({"request_id": "r", "output": job})
    assert found.settings["learning_rate"] == 1.6e-5
    assert found.metadata == {"imported_from": "dashscope", "imported_id": "ft-202410291653-1c7f",
                              "imported_created_at": "1730192033"}  # fmt: skip
    assert left(found)["finetuned_output"] == "weights_stay"
    assert left(found)["usage.tokens"] == "old_job"
    assert next(one.value for one in found.left if one.theirs == "status") == "succeeded"


def test_together() -> None:
    found = taken(TOGETHER)
    assert (found.service, found.base) == ("together", "qwen3-8b")
    assert dict(found.settings) == {"n_epochs": 4, "learning_rate": 2e-4, "lr_scheduler": "cosine", "r": 16,
                                    "lora_alpha": 32.0, "target_modules": "all-linear",
                                    "prompt_loss_weight": 0.0}  # fmt: skip
    assert became(found)["batch_size"] == ("batch_size", "auto")
    assert left(found)["wandb_api_key"] == "secret"
    assert "hidden-1" not in json.dumps(found.as_json())


def test_together_full_tuning_has_a_rate_of_its_own() -> None:
    found = taken({**TOGETHER, "training_type": {"type": "Full"}})
    assert left(found)["learning_rate"] == "full_rate"
    assert "learning_rate" not in found.settings


def test_openai_as_it_returns() -> None:
    found = taken({"object": "list", "data": [OPENAI]})
    assert (found.service, found.base, found.model) == ("openai", None, "gpt-4o-mini-2024-07-18")
    assert (found.learning_rate_multiplier, found.seed) == (1.8, 683058546)
    assert dict(found.settings) == {"n_epochs": 3}
    assert found.metadata["team"] == "billing"
    assert left(found)["model"] == "no_such_base"
    assert left(found)["fine_tuned_model"] == "weights_stay"
    order = found.order("qwen3-0.6b", "file-1", "file-2")
    assert (order.learning_rate_multiplier, order.training_file, order.validation_file) == (1.8, "file-1", "file-2")
    assert order.request["hyperparameters"] == {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 1.8}


def test_azure_is_openai_with_states_of_its_own() -> None:
    found = taken({"model": "gpt-4o-mini", "training_file": "file-1", "status": "notRunning",
                   "hyperparameters": {"n_epochs": 2, "prompt_loss_weight": 0.1}})  # fmt: skip
    assert found.service == "azure"
    assert dict(found.settings) == {"n_epochs": 2, "prompt_loss_weight": 0.1}
    assert next(one.value for one in found.left if one.theirs == "status") == "queued"


def test_going_on_from_a_tuned_model_starts_from_the_base() -> None:
    assert left(taken({**OPENAI, "model": "ft:gpt-4o-mini:org::7"}))["model"] == "their_weights"


def test_the_line_for_the_shell_is_quoted() -> None:
    found = taken({**TOGETHER, "training_type": {"lora_trainable_modules": "q_proj,v_proj"}})
    line = found.command("qwen3-8b", "my data; rm -rf.jsonl", "验证.jsonl")
    assert line.startswith("postil train 'my data; rm -rf.jsonl' --validation 验证.jsonl --base qwen3-8b --set ")
    assert "--set target_modules=q_proj,v_proj" in line


def test_every_setting_in_the_table_is_one_of_ours() -> None:
    states = {"validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"}
    extra = {"learning_rate_multiplier"}
    for name, words in _services().items():
        if "like" in words:
            continue
        assert set(words["status"].values()) <= states, name
        for ours in set(words["settings"].values()) - extra:
            check_settings({ours: {"lr_scheduler": "linear", "target_modules": "all-linear"}.get(ours, "1")
                            if ours not in ("lora_dropout", "warmup_ratio", "max_length", "save_total_limit") else
                            {"max_length": "512", "save_total_limit": "3"}.get(ours, "0")})  # fmt: skip
