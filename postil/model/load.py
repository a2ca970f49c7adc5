"""A directory becomes a model and its tokenizer: safetensors only, never remote code, never the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging

from postil.errors import ModelError, PlanError
from postil.extras import has
from postil.model.adapt import METHODS
from postil.model.attention import allow_packs
from postil.model.bounded import check_templates
from postil.model.heads import HEADS, head_modules, is_encoder
from postil.model.memory import lacks_memory
from postil.model.reader import Reader
from postil.model.template import Template
from postil.model.tensors import read_header
from postil.model.trust import check_directory
from postil.records import Plan

logging.set_verbosity_error()
logging.disable_progress_bar()

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
WEIGHTS = (".safetensors", ".safetensors.index.json")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Loaded:
    """A model in memory with its tokenizer and template."""

    model: Any
    tokenizer: Any
    template: Template
    device: str


def load_template(path: Path, *, thinking: bool = False, task: str = "causal_lm") -> Template:
    """How the model in `path` reads dialogues for a task, without its weights: the chat template of one that writes, a
    `Reader` for labels. While its files are the same it is read once."""
    facts = tuple(
        (file.name, (s := file.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns) for file in _beside_weights(path)
    )
    return _template(path.resolve(), thinking, task, facts)


@lru_cache(maxsize=3)
def _template(path: Path, thinking: bool, task: str, facts: tuple[tuple[str, int, int, int], ...]) -> Template:
    check_directory(path)
    if not any((path / name).exists() for name in TOKENIZERS):  # some classes would make an empty one
        raise ModelError("no_tokenizer", path=str(path))
    check_templates(path)
    tokenizer = _try(path, lambda: AutoTokenizer.from_pretrained(str(path), local_files_only=True))
    encoder = is_encoder(_model_type(path))
    if HEADS[task].fresh:
        return Reader(tokenizer, task, encoder=encoder, thinking=thinking)
    if encoder and tokenizer.chat_template is None and not tokenizer.eos_token:
        raise ModelError("base_only_reads", path=str(path))
    return Template(tokenizer, thinking=thinking, stop_ids=_stop_ids(path), identity=_identity(path))


def _model_type(path: Path) -> str:
    return str(json.loads((path / "config.json").read_bytes()).get("model_type", ""))


def _identity(path: Path) -> str:
    """A hash of all that a tokenizer and its template may come from: every file of the directory but the weights."""
    digest = hashlib.sha256()
    for file in _beside_weights(path):
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _beside_weights(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    known = (".json", ".jinja", ".txt", ".model")
    return sorted(f for f in path.iterdir() if f.name.endswith(known) and not f.name.endswith(WEIGHTS) and f.is_file())


def load_planned(path: Path, plan: Plan, labels: Sequence[str] = ()) -> Loaded:
    """The base model in `path` as an adapter of this plan stands on it. labels: what a head for labels tells apart."""
    return load_base(
        path, dtype=plan.dtype, device=plan.device, thinking=plan.thinking, task=plan.task, labels=labels,
        seed=plan.seed, four_bits=METHODS[plan.method].four_bits,
    )  # fmt: skip


def load_base(
    path: Path, *, dtype: str = "float32", device: str = "cpu", thinking: bool = False, task: str = "causal_lm",
    labels: Sequence[str] = (), seed: int = 0, four_bits: bool = False,
) -> Loaded:  # fmt: skip
    """The base model in `path` with the head of a task, frozen and in evaluation mode.

    labels: what a fresh head tells apart; its start depends on `seed` alone. four_bits: the linear layers but the head
    as NF4. Raises ModelError when the directory is unsafe, broken or of an unknown architecture, when there is no such
    head for it, or when weights are missing that are not the fresh head's (they would be random); PlanError
    `device_missing`, `no_four_bits`. On a CPU the weights stay in their file, mapped into memory, unless they are
    stored in another dtype: see `stored_dtypes`.
    """
    _check_device(device)
    template = load_template(path, thinking=thinking, task=task)
    config = _try(path, lambda: _config(path, labels))
    head = HEADS[task]
    if head.fresh and type(config) not in head.auto._model_mapping:
        raise ModelError("task_not_for_base", path=str(path), task=task, model_type=config.model_type)
    how = _in_four_bits(dtype, device) if four_bits else {}

    def read() -> Any:
        if head.fresh:
            torch.manual_seed(seed)  # it begins at random
        return head.auto.from_pretrained(
            str(path), config=config, dtype=DTYPES[dtype], local_files_only=True, use_safetensors=True,
            trust_remote_code=False, output_loading_info=True, **how,
        )  # fmt: skip

    model, told = _try(path, read)
    fresh = set(head_modules(model)) if labels else set()
    missing = sorted(name for name in told["missing_keys"] if not fresh & set(name.split(".")))
    if missing:
        raise ModelError("weights_incomplete", path=str(path), name=missing[0])
    model.requires_grad_(False)
    model.eval()
    model.config.use_cache = not labels
    if not labels:
        allow_packs(model)
    if four_bits:
        _keep_layout(model)
    return Loaded(model if four_bits else _try(path, lambda: model.to(device)), template.tokenizer, template, device)


def _in_four_bits(dtype: str, device: str) -> dict[str, Any]:
    """What a model is read with so that its linear layers become NF4, their scales in 8 bits: arXiv 2305.14314."""
    if not has("bitsandbytes") or device == "mps":
        raise PlanError("no_four_bits")
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[dtype],
    )  # fmt: skip
    return {"quantization_config": how, "device_map": {"": device}}


def _keep_layout(model: Any) -> None:
    """On CPUs with AVX512-BF16 bitsandbytes would put its weights into another order at the first look, from then on
    compute in bfloat16, and give no gradients: a run would learn something wrong after its first validation."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _config(path: Path, labels: Sequence[str] = ()) -> Any:
    """The model's own config without its dropout: the base stays closed, and only the adapter may have some."""
    config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    for name, value in vars(config).items():
        if name.endswith(("dropout", "_pdrop", "dropout_prob")) and isinstance(value, float):
            setattr(config, name, 0.0)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
        config.classifier_dropout = 0.0
    return config


def _try(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, ValueError, LookupError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        if lacks_memory(error):
            raise ModelError("model_memory", path=str(path)) from error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError("model_load_failed", path=str(path), reason=reason[0]) from error


def stored_dtypes(path: Path) -> set[str]:
    """The dtypes in which the weights in `path` are stored, as safetensors names them: {"F32"}, {"BF16"}."""
    headers = (read_header(file, ModelError) for file in path.glob("*.safetensors"))
    return {tensor.dtype for header in headers for tensor in header.tensors.values()}


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and torch.cuda.device_count() <= int(number or 0):
        raise PlanError("device_missing", device=device)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise PlanError("device_missing", device=device)


def _stop_ids(path: Path) -> list[int]:
    """The tokens at which the model's makers let it stop."""
    file = path / "generation_config.json"
    if not file.exists():
        return []
    ids = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
    return list(ids) if isinstance(ids, list) else [] if ids is None else [ids]
