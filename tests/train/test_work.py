"""A laid-out directory becomes an adapter, and nothing of anybody's is lost."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from postil.errors import AdapterError, DataError, ModelError, TrainError
from postil.model.labels import proven
from postil.model.load import load_template
from postil.model.pair import open_pair
from postil.train import examples_of, read_adapter, run
from tests.models import CHAT, dialogue, plan, titles
from tests.runs import adapter_hashes, laid_out

QUIET = {"emit": lambda event: None}


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A finished run, its events and its result; copy the directory before you spoil it."""
    directory, events = tmp_path_factory.mktemp("run") / "out", []
    laid_out(directory, base("llama3"))
    return directory, events, run(directory, events.append, price_per_second=0.1)


@pytest.fixture
def out(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "out")


def test_a_run_leaves_an_adapter_a_tokenizer_and_what_it_was(trained):
    directory, events, result = trained
    names = {path.name for path in directory.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert {"plan.json", "metrics.jsonl", "result.json", "data", "checkpoints"} <= names
    assert json.loads((directory / "result.json").read_text("utf-8")) == result
    assert result["updates"] == 12 and result["epochs"] == 2 and result["trained_tokens"] > 1000
    assert result["validation_loss"]["tuned"] < result["validation_loss"]["base"]
    assert result["peak_rss_bytes"] > 1e8 and result["adapter"] == str(directory)
    assert [e.data["stage"] for e in events if e.type == "stage"][:2] == ["prepare", "prepare"]


def test_the_adapter_is_known_and_speaks(trained):
    adapter = read_adapter(trained[0])
    assert adapter.base == "tiny" and adapter.plan.n_epochs == 2
    both = open_pair(adapter)
    losses = [sum(both.losses(titles(30)[24:], tuned=tuned)) for tuned in (True, False)]
    assert losses[0] < losses[1]


def test_the_validation_loss_that_it_tells_is_the_one_of_the_adapter_on_disk(trained):
    both = open_pair(read_adapter(trained[0]))
    examples = examples_of(trained[0], "validation")
    template = both._loaded.template
    weights = [sum(s.learned for s in template.sequences(example)) for example in examples]
    mean = sum(a * b for a, b in zip(both.losses(examples, tuned=True), weights, strict=True)) / sum(weights)
    assert mean == pytest.approx(trained[2]["validation_loss"]["tuned"], rel=1e-4)


def test_running_again_changes_nothing(out):
    before = adapter_hashes(out)
    (out / "result.json").unlink()
    (out / "adapter_model.safetensors").unlink()
    run(out, **QUIET)
    assert adapter_hashes(out) == before


# ── what is there is not overwritten ──


def test_a_finished_run_is_kept_unless_forced(out, base):
    before = adapter_hashes(out)
    with pytest.raises(TrainError) as refused:
        laid_out(out, base("llama3"))
    assert refused.value.code == "run_finished" and adapter_hashes(out) == before
    laid_out(out, base("llama3"), force=True, n_epochs=1)
    assert not (out / "adapter_model.safetensors").exists() and not (out / "result.json").exists()
    assert run(out, **QUIET)["updates"] == 6


def test_an_unfinished_run_is_kept_unless_forced(out, base):
    (out / "result.json").unlink()
    with pytest.raises(TrainError) as refused:
        laid_out(out, base("llama3"))
    assert refused.value.code == "run_unfinished" and "--resume" in refused.value.remedy("en")


# ── what has changed is noticed ──


@pytest.mark.parametrize("part", ["training", "validation"])
def test_data_that_changed_is_not_trained_on(out, part):
    file = out / "data" / f"{part}.jsonl"
    file.write_text(file.read_text("utf-8").replace("dress", "press"), "utf-8")
    with pytest.raises(TrainError) as refused:
        run(out, **QUIET)
    assert refused.value.code == "data_changed" and f"{part}.jsonl" in refused.value.cause("en")
    file.unlink()
    with pytest.raises(TrainError) as refused:
        examples_of(out, part)
    assert refused.value.code == "data_changed"


def test_a_base_that_changed_is_not_trained_on(base, tmp_path):
    path = shutil.copytree(base("llama3"), tmp_path / "base")
    laid_out(tmp_path / "out", path)
    weights = load_file(path / "model.safetensors")
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1e-3}, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as refused:
        run(tmp_path / "out", **QUIET)
    assert refused.value.code == "base_changed" and refused.value.cause("zh")


def test_where_nothing_was_laid_out_there_is_nothing_to_run(tmp_path):
    for text in (None, "{", "[]", "{}"):
        if text is not None:
            (tmp_path / "plan.json").write_text(text)
        with pytest.raises(TrainError) as refused:
            run(tmp_path, **QUIET)
        assert refused.value.code == "nothing_to_resume"
        with pytest.raises(AdapterError) as no_adapter:
            read_adapter(tmp_path)
        assert no_adapter.value.code == "not_an_adapter"


# ── labels ──


def test_labels_that_would_be_wrong_stop_the_run_and_name_every_row(tmp_path, base):
    wrong = [
        dialogue(("user", "q"), ("assistant", "x", 0), rows=(40, 41)),
        dialogue(("user", "long " * 300), ("assistant", "x"), rows=(50,)),
        dialogue(("assistant", "hello"), rows=(60,)),
    ]
    laid_out(tmp_path / "out", base("llama3"), training=[*titles(4), *wrong[:2]], validation=[wrong[2], CHAT])
    with pytest.raises(DataError) as refused:
        run(tmp_path / "out", **QUIET)
    assert refused.value.code == "labels_wrong" and refused.value.rows == (40, 41, 50)
    for lang in ("zh", "en"):
        cause = refused.value.cause(lang)
        assert "40, 41" in cause and "50" in cause and "{" not in cause
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_a_long_list_of_rows_is_cut_short(base):
    examples = [dialogue(("user", "q"), ("assistant", "a", 0), rows=(row,)) for row in range(2, 60)]
    with pytest.raises(DataError) as refused:
        proven(examples, load_template(base("llama3")), plan().max_length)
    assert len(refused.value.rows) == 58 and refused.value.cause("en").count(",") < 40
    assert "…" in refused.value.cause("en")


# ── what the examples carry ──


def test_no_validation_rows(tmp_path, base):
    laid_out(tmp_path / "out", base("qwen2"), training=titles(8), validation=[], n_epochs=1, learning_rate_probe=True)
    result = run(tmp_path / "out", **QUIET)
    assert result["validation_loss"] == {"base": None, "tuned": None} and result["best_update"] == 2
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert any(tensor.any() for name, tensor in weights.items() if "lora_B" in name)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.parametrize("method", ["full", "pissa", "p_tuning"])
def test_whatever_the_method_an_interrupted_run_ends_in_the_same_bytes(base, tmp_path, method):
    values = {"method": method, "n_epochs": 1, "save_steps": 2, "num_virtual_tokens": 5}
    shown = {"training": titles(12), "validation": titles(3)}
    laid_out(tmp_path / "whole", base("llama3"), **shown, **values)
    result = run(tmp_path / "whole", **QUIET)
    laid_out(tmp_path / "broken", base("llama3"), **shown, **values)
    with pytest.raises(TrainError) as stopped:
        run(tmp_path / "broken", **QUIET, stop=lambda: True)
    assert stopped.value.code == "interrupted"
    again = run(tmp_path / "broken", **QUIET)
    assert adapter_hashes(tmp_path / "whole") == adapter_hashes(tmp_path / "broken")
    assert again["trained_parameters"] == result["trained_parameters"] > 0
    both = open_pair(read_adapter(tmp_path / "broken"))
    base_loss = result["validation_loss"]["base"]
    template, examples = both._loaded.template, shown["validation"]
    weights = [sum(s.learned for s in template.sequences(example)) for example in examples]
    for tuned, told in ((False, base_loss), (True, result["validation_loss"]["tuned"])):
        losses = zip(both.losses(examples, tuned=tuned), weights, strict=True)
        assert sum(a * b for a, b in losses) / sum(weights) == pytest.approx(told, rel=1e-4)
