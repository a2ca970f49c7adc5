import json
from pathlib import Path

import pytest

from postil.errors import ModelError
from postil.plan.catalog import bases, find, needed_bytes, recommend, shape_of, stated_sizes
from postil.records import Machine

GB = 1_000_000_000


def machine(free: float, gpu: float = 0) -> Machine:
    return Machine("Linux", 4, 64 * GB, int(free * GB), 100 * GB, gpu_memory_bytes=int(gpu * GB))


@pytest.mark.parametrize("base", bases(), ids=lambda base: base.name)
def test_a_shape_adds_up_to_the_size_that_its_authors_state(base):
    assert base.shape.parameters == pytest.approx(stated_sizes()[base.name], rel=0.05)


@pytest.mark.parametrize("base", bases(), ids=lambda base: base.name)
def test_every_entry_says_where_it_comes_from_and_under_which_licence(base):
    assert base.licence and base.family and base.languages
    assert set(base.sources) <= {"index", "huggingface", "modelscope"} and base.sources
    assert base.name == base.name.lower() and "/" not in base.name
    assert base.source.split(":", 1)[1] == next(iter(base.sources.values()))


def test_the_catalogue_holds_the_models_people_ask_for():
    names = {base.name for base in bases()}
    assert bases()[0].name == "smollm2-135m-instruct"
    assert {"qwen2.5-0.5b-instruct", "qwen2.5-1.5b-instruct", "qwen2.5-7b-instruct", "qwen3-0.6b", "qwen3-1.7b",
            "qwen3-4b", "qwen3-8b", "qwen3-14b", "deepseek-r1-distill-qwen-1.5b", "deepseek-r1-distill-qwen-7b",
            "llama-2-7b-chat", "llama-3.2-1b-instruct", "llama-3.2-3b-instruct"} <= names  # fmt: skip


@pytest.mark.parametrize("name", ["qwen3-0.6b", "Qwen/Qwen3-0.6B", "QWEN/qwen3-0.6b", " Qwen3-0.6B "])
def test_a_base_is_found_by_alias_and_by_repository_in_any_case(name, tmp_path):
    found = find(name, tmp_path)
    assert found.name == "qwen3-0.6b" and found.path is None


def test_an_unknown_name_is_refused_with_the_names_next_to_it(tmp_path):
    with pytest.raises(ModelError) as refused:
        find("Qwen/Qwen3-0.5B", tmp_path)
    assert refused.value.code == "unknown_base"
    assert "qwen3-0.6b" in refused.value.values["close"]


def test_a_path_that_is_not_there_is_called_a_path(tmp_path):
    with pytest.raises(ModelError) as refused:
        find(str(tmp_path / "nothing"), tmp_path)
    assert refused.value.code == "no_directory"


def test_a_base_on_disk_has_its_path_and_its_real_source(tmp_path):
    place = tmp_path / "models" / "qwen3-0.6b"
    place.mkdir(parents=True)
    assert find("qwen3-0.6b", tmp_path).path is None  # a download that broke off does not count
    (place / "source.json").write_text(json.dumps({"source": "modelscope:Qwen/Qwen3-0.6B"}))
    found = find("qwen3-0.6b", tmp_path)
    assert found.path == place and found.source == "modelscope:Qwen/Qwen3-0.6B"


LLAMA = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
         "max_position_embeddings": 512}  # fmt: skip


def test_any_directory_with_a_config_is_a_base(tmp_path):
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(LLAMA))
    found = find(str(directory), tmp_path)
    assert (found.name, found.path) == ("mine", directory)
    assert found.shape.head_dim == 16 and found.shape.context == 512
    assert found.source == f"directory:{directory}"


def test_a_directory_without_a_config_is_none(tmp_path):
    with pytest.raises(ModelError) as refused:
        find(str(tmp_path), tmp_path)
    assert refused.value.code == "no_config"


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"hidden_size": "64"}', '{"hidden_size": -1}'])
def test_a_config_that_says_nothing_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError) as refused:
        find(str(tmp_path), tmp_path)
    assert refused.value.code == "config_unreadable"


def test_sizes_are_read_from_a_text_config_inside():
    gemma = {"model_type": "gemma3", "text_config": {**LLAMA, "model_type": "gemma3_text", "head_dim": 32}}
    shape = shape_of(gemma)
    assert (shape.layers, shape.head_dim, shape.tied) == (2, 32, True)


def test_sizes_are_read_under_their_older_names():
    shape = shape_of(
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 50, "n_positions": 9}
    )
    assert (shape.hidden, shape.layers, shape.intermediate, shape.context) == (32, 3, 128, 9)


def test_chinese_data_gets_a_model_that_knows_chinese_and_fits(tmp_path):
    base, reason, values = recommend(0.9, machine(free=8))
    assert base.family == "qwen3" and "zh" in base.languages
    assert needed_bytes(base.shape, machine(free=8)) <= 8 * GB
    assert reason == "base_for_chinese" and values["share"] == 90


def test_a_gpu_with_much_memory_gets_a_larger_model():
    small, _, _ = recommend(0.9, machine(free=8))
    large, _, _ = recommend(0.9, machine(free=8, gpu=80))
    assert large.shape.parameters > 5 * small.shape.parameters


def test_without_a_gpu_nothing_is_recommended_that_takes_days():
    base, _, _ = recommend(0.1, machine(free=500))
    assert base.shape.parameters < 2 * GB


def test_where_nothing_fits_the_built_in_model_is_named_with_the_reason():
    base, reason, _ = recommend(0.9, machine(free=1))
    assert base.name == bases()[0].name and reason == "base_nothing_fits"


def test_more_memory_never_means_a_smaller_model():
    sizes = [recommend(0.9, machine(free=0, gpu=gpu))[0].shape.parameters for gpu in range(0, 80, 4)]
    assert sizes == sorted(sizes) and len(set(sizes)) > 3


def test_the_catalogue_is_part_of_the_package():
    import postil.plan

    assert (Path(postil.plan.__file__).parent / "catalog.json").is_file()


def test_encoders_have_a_shape_too() -> None:
    """BERT and DistilBERT call their sizes by other names."""
    bert = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "intermediate_size": 3072, "vocab_size": 21128, "max_position_embeddings": 512}  # fmt: skip
    small = {"model_type": "distilbert", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072,
             "vocab_size": 30522, "max_position_embeddings": 512}  # fmt: skip
    assert (shape_of(bert).layers, shape_of(small).layers) == (12, 6)
    assert shape_of(bert).head_dim == shape_of(small).head_dim == 64
    assert shape_of(small).intermediate == 3072
