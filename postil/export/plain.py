"""Directories that transformers, PEFT and vLLM read: weights or adapter, and all that stands beside them."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from postil.errors import ExportError
from postil.export.chat import outgoing
from postil.export.merge import SHARD_BYTES, Planned, Updates, write_merged
from postil.model.adapt import CONFIG, WEIGHTS
from postil.model.labelset import LABELS
from postil.model.load import TOKENIZERS
from postil.model.reader import Reader
from postil.model.template import Template
from postil.store import read_json

TOKENIZER_FILES = (*TOKENIZERS, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
NOTICES = ("LICENSE", "NOTICE", "USE_POLICY")
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what `--max-lora-rank` may be


def write_whole(planned: Sequence[Planned], base: Path, template: Template, directory: Path, dtype: str | None,
                shard_bytes: int = SHARD_BYTES) -> None:  # fmt: skip
    """The merged model as a directory of its own."""
    write_merged(planned, directory, shard_bytes)
    config = read_json(base / "config.json")
    if dtype:
        config = {**{key: value for key, value in config.items() if key != "torch_dtype"}, "dtype": dtype}
    if any(one.added for one in planned):
        config = {**config, "tie_word_embeddings": False}
    _write_json(directory / "config.json", config)
    _write_generation(base, template, directory)
    write_tokenizer(base, template, directory)
    write_notices(base, directory)


def write_peft(adapter: Path, base: Path, template: Template, directory: Path, reference: str) -> None:
    """The adapter as a PEFT directory. reference: where whoever loads it finds the base."""
    shutil.copyfile(adapter / WEIGHTS, directory / WEIGHTS)
    _write_json(directory / CONFIG, {**read_json(adapter / CONFIG), "base_model_name_or_path": reference})
    if (adapter / LABELS).is_file():
        shutil.copyfile(adapter / LABELS, directory / LABELS)
    write_tokenizer(base, template, directory)


def write_vllm(adapter: Path, base: Path, template: Template, directory: Path, reference: str, updates: Updates,
               name: str) -> list[str]:  # fmt: skip
    """The same, with a script that starts vLLM with it. Returns vLLM's command line.

    Raises ExportError `vllm_kind` for what vLLM cannot serve.
    """
    if not updates.plain:
        raise ExportError("vllm_kind")
    rank = next((one for one in VLLM_RANKS if one >= max(updates.ranks)), None)
    if rank is None:
        raise ExportError("vllm_rank", rank=max(updates.ranks), limit=VLLM_RANKS[-1])
    inner = directory / "adapter"
    inner.mkdir()
    write_peft(adapter, base, template, inner, reference)
    command = ["vllm", "serve", reference, "--enable-lora", "--lora-modules", f"{name}=adapter", "--max-lora-rank",
               str(rank), "--chat-template", "adapter/chat_template.jinja"]  # fmt: skip
    script = directory / "serve.sh"
    script.write_text(f'#!/bin/sh\ncd "$(dirname "$0")" && exec {shlex.join(command)} "$@"\n', "utf-8")
    script.chmod(0o755)
    return command


def write_tokenizer(base: Path, template: Template, directory: Path) -> None:
    """The base's own tokenizer files, byte for byte, but for the chat template, where it has one."""
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, directory / name)
    if isinstance(template, Reader) and template.encoder:
        return  # it reads plain text
    text = outgoing(template)
    if (directory / "tokenizer_config.json").is_file():
        config = read_json(directory / "tokenizer_config.json")
        if "chat_template" in config:
            _write_json(directory / "tokenizer_config.json", {**config, "chat_template": text})
    (directory / "chat_template.jinja").write_text(text, "utf-8")


def _write_generation(base: Path, template: Template, directory: Path) -> None:
    """The base's generation config, with every token at which our own engine ends an answer."""
    file = base / "generation_config.json"
    told: dict[str, Any] = read_json(file) if file.is_file() else {}
    start = template.tokenizer.bos_token_id
    known: Mapping[str, Any] = {} if start is None else {"bos_token_id": start}
    _write_json(directory / "generation_config.json", {**known, **told, "eos_token_id": list(template.stop_ids)})


def write_notices(base: Path, directory: Path) -> None:
    for file in sorted(base.iterdir()):
        if file.is_file() and file.name.startswith(NOTICES):
            shutil.copyfile(file, directory / file.name)


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")
