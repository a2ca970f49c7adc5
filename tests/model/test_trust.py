"""Attack tests: what a downloaded folder may hold, and that none of it runs."""

import json
import pickle
import struct
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from postil.errors import AdapterError, ModelError, PostilError
from postil.model.trust import check_directory, check_safetensors, fingerprint

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 1,
         "vocab_size": 16, "torch_dtype": "float32"}  # fmt: skip
LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


class Canary:
    """Unpickling this touches a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture
def canary(tmp_path):
    """The file that must not come into being, whatever is opened."""
    file = tmp_path / "canary"
    yield file
    assert not file.exists()


@pytest.fixture
def base(tmp_path):
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(LLAMA))
    save_file({"w": np.ones((2, 3), np.float32)}, directory / "model.safetensors")
    return directory


@pytest.fixture
def adapter(tmp_path):
    directory = tmp_path / "adapter"
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps(LORA))
    write_adapter(directory, {f"{LAYER}.lora_A.weight": np.ones((4, 8), np.float32),
                              f"{LAYER}.lora_B.weight": np.zeros((8, 4), np.float32)})  # fmt: skip
    return directory


def write_adapter(directory, tensors):
    save_file(tensors, directory / "adapter_model.safetensors")


def change(directory, name, **values):
    file = directory / name
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **values}))


def refused(path, code, error=PostilError):
    with pytest.raises(error) as caught:
        check_directory(path)
    assert caught.value.code == code
    assert caught.value.cause("zh") and caught.value.remedy("en")
    return caught.value


def test_honest_directories_pass(base, adapter):
    check_directory(base)
    check_directory(adapter)


# ── 1: pickled weights ──


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "last.ckpt", "x.mdl", "x.pkl"])
def test_attack_01_pickled_weights_alone_are_refused_by_name(base, canary, name):
    (base / "model.safetensors").unlink()
    (base / name).write_bytes(pickle.dumps(Canary(canary)))
    assert refused(base, "unsafe_weights", ModelError).values["file"] == name


def test_attack_01_a_pickled_adapter_is_refused_by_name(adapter, canary):
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Canary(canary)))
    assert refused(adapter, "unsafe_weights", AdapterError).values["file"] == "adapter_model.bin"


@pytest.mark.parametrize("name", ["training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.mdl"])
def test_attack_01_pickles_beside_safetensors_are_left_alone(base, canary, name):
    (base / name).write_bytes(pickle.dumps(Canary(canary)))
    check_directory(base)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_attack_01_a_pickle_under_another_name_is_refused(base, canary, protocol):
    (base / "model.safetensors").write_bytes(pickle.dumps(Canary(canary), protocol))
    assert refused(base, "bad_safetensors", ModelError).values["file"] == "model.safetensors"


def test_attack_01_every_part_of_the_weights_is_looked_at(base, canary):
    (base / "model-00002-of-00002.safetensors").write_bytes(pickle.dumps(Canary(canary)))
    refused(base, "bad_safetensors")


def test_no_weights_at_all(base):
    (base / "model.safetensors").unlink()
    refused(base, "no_weights", ModelError)


def test_attack_01_a_python_file_is_never_imported(base):
    (base / "modeling_trap.py").write_text("raise SystemExit('imported')")
    (base / "sitecustomize.py").write_text("raise SystemExit('imported')")
    check_directory(base)
    assert not any("modeling_trap" in name for name in sys.modules)


# ── 2: configs that run code or reach out ──


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("values", [
    {"auto_map": {"AutoModel": "modeling_trap.Trap"}}, {"trust_remote_code": True},
    {"custom_generate": "someone/loop"}, {"text_config": {"auto_map": {"AutoConfig": "x.Y"}}},
    {"parts": [{"deep": {"execute_code": "yes"}}]}, {"attn_implementation": "someone/kernel"},
    {"_attn_implementation": "someone/kernel:trap"}, {"text_config": {"_attn_implementation_internal": "a/b"}},
    {"attn_implementation": {"text": "a/b"}}, {"kernel_config": "someone/kernel"},
])  # fmt: skip
def test_attack_02_settings_that_would_run_code_are_refused(base, name, values):
    change(base, name, **values)
    assert refused(base, "unsafe_config", ModelError).values["file"] == name


@pytest.mark.parametrize("values", [
    {"trust_remote_code": False}, {"auto_map": None}, {"attn_implementation": "sdpa"}, {"_attn_implementation": None},
    {"text_config": {"model_type": "llama"}}, {"architectures": None}, {"dtype": "bfloat16"},
])  # fmt: skip
def test_harmless_settings_pass(base, values):
    change(base, "config.json", **values)
    check_directory(base)


@pytest.mark.parametrize(
    "model_type", ["x\nimport os", "llama\n", "../llama", "", "a" * 500, "__import__('os')", 3, []]
)
def test_attack_02_an_odd_model_type_is_refused(base, model_type):
    change(base, "config.json", model_type=model_type)
    assert refused(base, "unsafe_config").values["key"] == "model_type"


@pytest.mark.parametrize("model_type", [None, "nobody_knows_this"])
def test_attack_02_an_unknown_model_type_is_refused(base, model_type):
    change(base, "config.json", model_type=model_type)
    refused(base, "unknown_architecture", ModelError)


@pytest.mark.parametrize("values", [
    {"architectures": ["os.system('x')"]}, {"architectures": "Llama"}, {"torch_dtype": "load('x')"},
    {"tokenizer_class": "a b"}, {"transformers_weights": "../other.bin"}, {"transformers_weights": "x.bin"},
])  # fmt: skip
def test_attack_02_names_that_libraries_look_up_must_be_names(base, values):
    change(base, "config.json", **values)
    refused(base, "unsafe_config")


def test_quantised_weights_are_refused_with_advice(base):
    change(base, "config.json", quantization_config={"quant_method": "mxfp4"})
    refused(base, "quantised_base")


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", "[" * 1_000_000, '{"a": 1' + "0" * 10_000 + "}", "\xff"])
def test_attack_02_a_config_that_is_no_object_is_refused(base, text):
    (base / "config.json").write_bytes(text.encode("latin-1"))
    refused(base, "config_unreadable")


def test_a_base_that_is_an_adapter_too_is_refused(base):
    change(base, "adapter_config.json", base_model_name_or_path="/somewhere/else")
    refused(base, "base_and_adapter", ModelError)


def test_a_folder_without_config_and_no_folder_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no_config", ModelError)
    refused(tmp_path / "nothing", "no_directory", ModelError)


# ── links and special files ──


@pytest.mark.parametrize("name", ["tokenizer.json", "model-2.safetensors", "notes.txt"])
def test_attack_08_a_link_that_leads_out_is_refused(base, tmp_path, name):
    (tmp_path / "secret").write_text("{}")
    (base / name).symlink_to(tmp_path / "secret")
    assert refused(base, "unsafe_link").values["file"] == name


def test_attack_08_a_linked_folder_of_templates_is_refused(base, tmp_path):
    (tmp_path / "out").mkdir()
    (base / "additional_chat_templates").symlink_to(tmp_path / "out")
    refused(base, "unsafe_link")


def test_a_link_within_the_folder_passes(base):
    (base / "copy.json").symlink_to(base / "config.json")
    check_directory(base)


def test_attack_08_a_snapshot_in_a_hub_cache_may_link_to_its_own_blobs(base, tmp_path):
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in base.iterdir():
        file.replace(blobs / file.name)
        (snapshot / file.name).symlink_to(blobs / file.name)
    check_directory(snapshot)
    (snapshot / "other").symlink_to(tmp_path)
    refused(snapshot, "unsafe_link")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_attack_08_a_pipe_is_refused_without_being_opened(base):
    import os

    os.mkfifo(base / "tokenizer.json")
    refused(base, "unsafe_file")


def test_attack_08_a_broken_link_is_refused(base):
    (base / "gone.json").symlink_to(base / "nothing.json")
    refused(base, "unsafe_file")


def test_a_folder_full_of_files_is_refused(base, monkeypatch):
    monkeypatch.setattr("postil.model.trust.MAX_FILES", 1)
    refused(base, "too_many_files")


@pytest.mark.parametrize("part", ["../model.safetensors", "/etc/passwd", "missing.safetensors", "pytorch_model.bin"])
def test_attack_08_an_index_names_only_files_beside_it(base, part):
    change(base, "model.safetensors.index.json", weight_map={"w": part})
    assert refused(base, "missing_weights").values["file"] == part


# ── 5: headers that lie ──


def header(content, data=b"", length=None):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


LIES = {
    "nothing": b"",
    "short": b"\0" * 7,
    "huge length": header({}, length=2**63),
    "longer than the file": header({}, length=10**6),
    "101 MB of header": header(b"{}" + b" " * (101 << 20)),
    "not JSON": header(b"{nonsense"),
    "an array": header(b"[]"),
    "space first": header(b"   {}"),
    "deep": header(b'{"a":' + b"[" * 1_000_000),
    "many digits": header(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,4]}}'),
    "overlap": header({"a": tensor(offsets=(0, 4)), "b": tensor(offsets=(2, 6))}, b"\0" * 6),
    "same place twice": header({"a": tensor(), "b": tensor()}, b"\0" * 4),
    "hole": header({"a": tensor(), "b": tensor(offsets=(8, 12))}, b"\0" * 12),
    "late start": header({"a": tensor(offsets=(4, 8))}, b"\0" * 8),
    "rest": header({"a": tensor()}, b"\0" * 5),
    "too little data": header({"a": tensor()}, b"\0" * 3),
    "backwards": header({"a": tensor(offsets=(4, 0))}, b"\0" * 4),
    "negative": header({"a": tensor(shape=(-1,), offsets=(0, -4))}),
    "true as a number": header({"a": tensor(shape=(True,))}, b"\0" * 4),
    "a float": header({"a": tensor(offsets=(0, 4.0))}, b"\0" * 4),
    "unknown dtype": header({"a": tensor(dtype="PICKLE")}, b"\0" * 4),
    "dtype is a list": header({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "shape too large": header({"a": tensor(shape=(2**40, 2**40))}, b"\0" * 4),
    "product wraps": header({"a": tensor(shape=(2**32, 2**32, 0, 1), offsets=(0, 4))}, b"\0" * 4),
    "rank of a million": header({"a": tensor(shape=(1,) * 1_000_000)}, b"\0" * 4),
    "a name twice": header(b'{"a":%b,"a":%b}' % ((json.dumps(tensor()).encode(),) * 2), b"\0" * 4),
    "extra keys": header({"a": {**tensor(), "code": "x"}}, b"\0" * 4),
    "no offsets": header({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
    "entry is a word": header({"a": "b"}),
}


@pytest.mark.parametrize("name", LIES)
def test_attack_05_a_header_that_lies_is_refused_soon(tmp_path, name):
    file = tmp_path / "model.safetensors"
    file.write_bytes(LIES[name])
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        check_safetensors(file)
    assert caught.value.code == "bad_safetensors"
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("piece", [b"[]", b"{}", b'"ab"', b"12345678"])
def test_attack_05_the_largest_header_that_is_read_takes_little_memory(tmp_path, piece):
    file = tmp_path / "model.safetensors"
    count = ((4 << 20) - 100) // (len(piece) + 1)
    file.write_bytes(header(b'{"a":[' + b",".join([piece] * count) + b"]}"))
    tracemalloc.start()
    with pytest.raises(ModelError):
        check_safetensors(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 << 20


def test_attack_05_a_million_tensors_are_refused_soon(tmp_path):
    file = tmp_path / "model.safetensors"
    entries = ",".join(f'"{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{i + 1}]}}' for i in range(1_000_000))
    file.write_bytes(header(f"{{{entries}}}".encode(), b"\0" * 1_000_000))
    start = time.monotonic()
    with pytest.raises(ModelError):
        check_safetensors(file)
    assert time.monotonic() - start < 2


def test_honest_files_pass_whatever_they_hold(tmp_path):
    file = tmp_path / "model.safetensors"
    for tensors in (
        {},
        {"a": np.zeros((0, 3), np.float32), "b": np.ones((2, 2), np.float16)},
        {"scalar": np.array(3.0, np.float64), "many": np.ones((1, 1, 1, 1, 2), np.int64), "u": np.ones(3, np.uint8)},
    ):
        save_file(tensors, file, metadata={"format": "pt"})
        check_safetensors(file)


# ── 5: adapters ──


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_attack_05_an_adapter_with_numbers_that_are_none_is_refused(adapter, value, dtype):
    weights = np.ones((4, 8), dtype)
    weights[3, 7] = value
    write_adapter(adapter, {f"{LAYER}.lora_A.weight": weights})
    assert refused(adapter, "adapter_not_finite", AdapterError).values["tensor"] == f"{LAYER}.lora_A.weight"


def test_the_largest_numbers_are_numbers(adapter):
    write_adapter(adapter, {f"{LAYER}.lora_A.weight": np.full((4, 8), np.finfo(np.float16).max, np.float16)})
    check_directory(adapter)


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.q_proj.weight", "lm_head.weight", "x", "a b.lora_A.weight"])
def test_attack_05_a_tensor_that_is_no_part_of_an_adapter_is_refused(adapter, name):
    write_adapter(adapter, {name: np.ones((4, 8), np.float32)})
    refused(adapter, "adapter_tensor", AdapterError)


VIRTUAL = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "num_layers": 2, "token_dim": 16}


def test_virtual_tokens_pass_where_they_are_as_many_and_as_wide_as_is_said(adapter):
    change(adapter, "adapter_config.json", **VIRTUAL)
    write_adapter(adapter, {"prompt_embeddings": np.ones((4, 64), np.float32)})
    check_directory(adapter)
    change(adapter, "adapter_config.json", peft_type="PROMPT_TUNING")
    write_adapter(adapter, {"prompt_embeddings": np.ones((4, 16), np.float32)})
    check_directory(adapter)


@pytest.mark.parametrize("values", [
    {"num_virtual_tokens": 10**9}, {"token_dim": 10**9}, {"num_layers": None}, {"num_layers": "2"}, {"token_dim": 0},
])  # fmt: skip
def test_attack_05_virtual_tokens_in_absurd_numbers_are_refused(adapter, values):
    change(adapter, "adapter_config.json", **{**VIRTUAL, **values})
    write_adapter(adapter, {"prompt_embeddings": np.ones((4, 64), np.float32)})
    refused(adapter, "adapter_tensor", AdapterError)


@pytest.mark.parametrize(("kind", "name"), [
    ("IA3", f"{LAYER}.weight"), ("LORA", "prompt_embeddings"), ("OFT", f"{LAYER}.oft_r"),
    ("P_TUNING", f"{LAYER}.weight"),
])  # fmt: skip
def test_attack_05_a_tensor_of_another_kind_of_adapter_is_refused(adapter, kind, name):
    change(adapter, "adapter_config.json", **{**VIRTUAL, "peft_type": kind})
    write_adapter(adapter, {"prompt_embeddings": np.ones((4, 16), np.float32), name: np.ones((4, 16), np.float32)})
    refused(adapter, "adapter_tensor", AdapterError)


@pytest.mark.parametrize("values", [
    {"r": 10**9}, {"r": 0}, {"r": "8"}, {"r": None}, {"rank_pattern": {"q_proj": 10**9}}, {"rank_pattern": [1]},
])  # fmt: skip
def test_attack_05_an_adapter_of_an_absurd_rank_is_refused(adapter, values):
    change(adapter, "adapter_config.json", **values)
    refused(adapter, "adapter_rank", AdapterError)


@pytest.mark.parametrize("values", [
    {"auto_mapping": {"parent_library": "os; import sys"}}, {"trust_remote_code": True}, {"auto_map": {"x": "y"}},
])  # fmt: skip
def test_attack_02_an_adapter_that_would_run_code_is_refused(adapter, values):
    change(adapter, "adapter_config.json", **values)
    refused(adapter, "unsafe_config", AdapterError)


# ── fingerprints ──


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_fingerprint_is_of_names_and_contents(base, home, tmp_path):
    first = fingerprint(base)
    assert len(first) == 64 and fingerprint(base) == first
    (base / "README.md").write_text("words change nothing")
    assert fingerprint(base) == first
    other = tmp_path / "elsewhere"
    base.rename(other)
    assert fingerprint(other) == first
    (other / "model.safetensors").rename(other / "model-1.safetensors")
    assert fingerprint(other) != first


def test_attack_24_a_changed_weight_changes_the_fingerprint_though_its_time_does_not(base, home):
    import os

    first, file = fingerprint(base), base / "model.safetensors"
    was = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert fingerprint(base) != first


def test_a_fingerprint_is_remembered_and_a_broken_memory_is_no_harm(base, home):
    first = fingerprint(base)
    memory = home / "fingerprints.json"
    assert first in memory.read_text()
    for broken in ("{", "[]", '{"x": 3}'):
        memory.write_text(broken)
        assert fingerprint(base) == first
