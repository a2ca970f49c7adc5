"""Adapters as they should not be: a good one with something changed, drawn by a seed."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from postil.model.adapt import CONFIG, WEIGHTS

KEYS = ("r", "lora_alpha", "lora_dropout", "bias", "peft_type", "task_type", "target_modules", "alpha_pattern",
        "rank_pattern", "modules_to_save", "use_rslora", "use_dora", "fan_in_fan_out", "init_lora_weights",
        "layers_to_transform", "layers_pattern", "exclude_modules", "layer_replication", "trainable_token_indices",
        "auto_mapping", "loftq_config", "lora_bias", "target_parameters", "base_model_name_or_path", "corda_config",
        "eva_config", "megatron_config", "inference_mode", "use_qalora", "arrow_config", "revision",
        "num_virtual_tokens", "alora_invocation_tokens", "postil_method", "unheard_of")  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**9, 10**30, 0.5, 1e308, -1e308, math.nan, math.inf, "", "x", "none", "LORA",
    "IA3", "PREFIX_TUNING", "full", "all-linear", "pissa", ".*", "(a+)+$", "\0", "好" * 50, [], ["x"], [1], [[]],
    [None], {}, {"x": 1}, {"q_proj": "y"}, {"q_proj": math.nan}, {"q_proj": 2}, {".*": 2}, {"q_proj": [1]}, ["q_proj"],
    [[0, 1]], {"a": {"b": []}},
)  # fmt: skip
NUMBERS = (math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 1e30, 1e20, 1e12, 1e-45, 0.0)
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool,
          torch.float8_e4m3fn, torch.complex64)  # fmt: skip
PLANS: tuple[Any, ...] = (
    [], "x", 3, None, {"plan": []}, {"plan": "x"}, {"plan": {"task": "nothing"}}, {"plan": {"task": []}},
    {"plan": {"task": "pretraining"}}, {"plan": {"task": "seq_cls"}}, {"plan": {"task": "seq_2_seq_lm"}},
    {"plan": {"method": []}}, {"plan": {"method": "qlora"}}, {"plan": {"thinking": "x"}}, {"plan": {"r": "x"}},
)  # fmt: skip


class Damage:
    """Makes the damaged copies of one good adapter, each by its number."""

    def __init__(self, good: Path, place: Path) -> None:
        self._good, self._place = good, place
        self._config = json.loads((good / CONFIG).read_text("utf-8"))
        self._tensors = load_file(good / WEIGHTS)

    def copy(self, number: int) -> Path:
        """The adapter of this number; the same each time."""
        chance = random.Random(number)
        path = self._place / f"damaged{number}"
        shutil.copytree(self._good, path)
        ways: list[Callable[[random.Random, Path], None]] = [
            self._value, self._value, self._absent_key, self._no_config, self._numbers, self._numbers, self._names,
            self._shapes, self._dtypes, self._cut, self._bytes, self._files, self._ranks, self._plan,
        ]  # fmt: skip
        ways[number % len(ways)](chance, path)
        return path

    def _write(self, path: Path, config: dict[str, Any]) -> None:
        (path / CONFIG).write_text(json.dumps(config), "utf-8")

    def _value(self, chance: random.Random, path: Path) -> None:
        for _ in range(chance.choice((1, 1, 1, 3))):
            self._config_of(path, {chance.choice(KEYS): chance.choice(VALUES)})

    def _config_of(self, path: Path, more: dict[str, Any]) -> None:
        self._write(path, {**json.loads((path / CONFIG).read_text("utf-8")), **more})

    def _absent_key(self, chance: random.Random, path: Path) -> None:
        absent = set(chance.sample(sorted(self._config), chance.randint(1, len(self._config))))
        self._write(path, {key: value for key, value in self._config.items() if key not in absent})

    def _no_config(self, chance: random.Random, path: Path) -> None:
        whole = (path / CONFIG).read_bytes()
        (path / CONFIG).write_bytes(chance.choice((
            b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, whole[: len(whole) // 2], whole + b"}",
            b'{"r": ' + b"9" * 5000 + b"}",
        )))  # fmt: skip

    def _numbers(self, chance: random.Random, path: Path) -> None:
        tensors = {name: tensor.clone() for name, tensor in self._tensors.items()}
        number = chance.choice(NUMBERS)
        for name in chance.sample(sorted(tensors), chance.choice((1, 2, len(tensors)))):
            if chance.random() < 0.5:
                tensors[name].fill_(number)
            else:
                tensors[name].view(-1)[chance.randrange(tensors[name].numel())] = number
        save_file(tensors, path / WEIGHTS)

    def _names(self, chance: random.Random, path: Path) -> None:
        tensors = dict(self._tensors)
        for name in chance.sample(sorted(tensors), chance.choice((1, 2, 5))):
            tensor = tensors.pop(name)
            renamed = chance.choice((
                None, "x", "", name.replace("layers.0", "layers.99"), name + ".weight", "lm_head.weight", "好" * 40,
                name.replace("lora_A", "lora_B"), name.replace("lora_B", "lora_A"), "../../x", "a" * 5000,
                name.replace("q_proj", "v_proj"),
            ))  # fmt: skip
            if renamed is not None:
                tensors[renamed] = tensor.clone()
        save_file(tensors, path / WEIGHTS)

    def _shapes(self, chance: random.Random, path: Path) -> None:
        tensors = dict(self._tensors)
        for name in chance.sample(sorted(tensors), chance.choice((1, 2, len(tensors)))):
            tensor = tensors[name]
            tensors[name] = chance.choice((
                tensor.t(), tensor[:1], tensor[:, :1], tensor[:0], tensor.view(-1), tensor[None], tensor.sum(),
                torch.cat((tensor, tensor)), torch.cat((tensor, tensor), 1), tensor.view(-1, 2),
            )).contiguous().clone()  # fmt: skip
        save_file(tensors, path / WEIGHTS)

    def _dtypes(self, chance: random.Random, path: Path) -> None:
        tensors, dtype = dict(self._tensors), chance.choice(DTYPES)
        for name in chance.sample(sorted(tensors), chance.choice((1, len(tensors)))):
            tensors[name] = tensors[name].to(dtype)
        save_file(tensors, path / WEIGHTS)

    def _cut(self, chance: random.Random, path: Path) -> None:
        file = path / chance.choice((WEIGHTS, WEIGHTS, CONFIG))
        whole = file.read_bytes()
        file.write_bytes(whole[: chance.choice((0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1))])

    def _bytes(self, chance: random.Random, path: Path) -> None:
        whole = bytearray((path / WEIGHTS).read_bytes())
        header = struct.unpack("<Q", whole[:8])[0] + 8
        for _ in range(chance.choice((1, 5, 200))):
            whole[chance.randrange(chance.choice((8, header, len(whole))))] = chance.randrange(256)
        (path / WEIGHTS).write_bytes(whole)

    def _files(self, chance: random.Random, path: Path) -> None:
        name = chance.choice((CONFIG, WEIGHTS))
        (path / name).unlink()
        if chance.random() < 0.5:
            (path / name).mkdir()

    def _ranks(self, chance: random.Random, path: Path) -> None:
        self._config_of(path, chance.choice((
            {"r": 1}, {"r": 1024}, {"rank_pattern": {"q_proj": 1}}, {"r": 5, "rank_pattern": {".*": 4}},
            {"lora_alpha": 1e6},            {"lora_alpha": 1e300}, {"alpha_pattern": {"q_proj": 1e308}},
            {"rank_pattern": {"layers.1.self_attn.v_proj": 2}},
        )))  # fmt: skip

    def _plan(self, chance: random.Random, path: Path) -> None:
        (path / "plan.json").write_text(json.dumps(chance.choice(PLANS)), "utf-8")
