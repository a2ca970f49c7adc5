"""Is a directory safe to open? Answered from its bytes alone, before any model library sees it.

Only safetensors and JSON are read. Whatever could make a library run code, read another file or ask
a network is refused: pickled weights, `auto_map`, repositories named as kernels, links that lead out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from postil.errors import AdapterError, ModelError, PostilError
from postil.model.peftconfig import check_config
from postil.model.tensors import Header, check_finite, read_header
from postil.records import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from postil.settings import Settings
from postil.store import make_directory

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".mdl", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", ADAPTER_CONFIG,
           "processor_config.json", "preprocessor_config.json", "special_tokens_map.json")  # fmt: skip
ATTENTION = {"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention"}
MAX_FILES = 10_000
MAX_JSON_BYTES = 32 << 20
MAX_RANK = 1024  # of an adapter; a larger one is an attack on memory

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")
_LORA = re.compile(
    r"(?=[\w.]{1,300}\Z)[\w.]+\.(lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\.\w+)*|bias|base_layer\.bias)\Z"
)
_VIRTUAL = re.compile(r"(prompt_embeddings|prompt_encoder\.default\.\w{1,40}(\.\w{1,40}){1,3})\Z")
_NAMES = {  # of the tensors of other kinds of adapters, by PEFT's word for the kind
    "IA3": re.compile(r"(?=[\w.]{1,300}\Z)[\w.]+\.ia3_l\Z"),
    "PREFIX_TUNING": _VIRTUAL, "PROMPT_TUNING": _VIRTUAL, "P_TUNING": _VIRTUAL,
}  # fmt: skip
_OURS = re.compile(r"[\w.]{1,300}\Z")  # of trained tensors beside the base, against which they are held when opened


def check_directory(path: Path) -> None:
    """Refuse `path` if a base model or an adapter in it is unsafe to load.

    Raises ModelError (AdapterError for an adapter) whose values name the file. Reads headers and JSON only,
    but for an adapter, whose numbers are looked at too. Never imports anything from the directory.
    """
    files = _files(path)
    adapter = ADAPTER_CONFIG in files
    error = AdapterError if adapter else ModelError
    if adapter and "config.json" in files:
        raise ModelError("base_and_adapter", path=str(path))
    if not adapter and "config.json" not in files:
        raise ModelError("no_config", path=str(path))
    for name in CONFIGS:
        if name in files:
            _check_config(name, _read_json(files[name], error), error)
    _check_weights(path, files, error)
    if adapter:
        _check_adapter(path, files)
    else:
        _check_architecture(_read_json(files["config.json"], error))


def check_safetensors(path: Path, error: type[PostilError] = ModelError) -> None:
    """Refuse a file whose safetensors header does not describe exactly its bytes. Bounded in time and memory."""
    read_header(path, error)


def fingerprint(path: Path) -> str:
    """SHA-256 over config.json and the weight files: names and contents, in the order of their names.

    Remembered in `<home>/fingerprints.json` under sizes and times of change, so that gigabytes are read once.
    """
    names = sorted(p for p in path.iterdir() if p.name == "config.json" or p.suffix == ".safetensors")
    facts = [[p.name, (s := p.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns] for p in names]
    key = hashlib.sha256(json.dumps([str(path.resolve()), facts]).encode()).hexdigest()
    cache = Settings().home / "fingerprints.json"
    known = _remembered(cache)
    if key not in known:
        known[key] = _hash(names)
        _remember(cache, known)
    return known[key]


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def _files(path: Path) -> dict[str, Path]:
    """Name -> path of the regular files of `path`. Links may not lead out, except into a hub cache's own store."""
    if not path.is_dir():
        raise ModelError("no_directory", path=str(path))
    root = path.resolve()
    allowed = [root]
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        allowed.append(root.parent.parent / "blobs")
    found: dict[str, Path] = {}
    for entry in _entries(root):
        if entry.is_symlink() and not any(entry.resolve().is_relative_to(place) for place in allowed):
            raise ModelError("unsafe_link", path=str(path), file=entry.name)
        mode = entry.stat().st_mode if entry.exists() else 0
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelError("unsafe_file", path=str(path), file=entry.name)
        if stat.S_ISREG(mode) and entry.parent == root:
            found[entry.name] = entry
    return found


def _entries(root: Path) -> Iterator[Path]:
    """All entries of `root` and of the one folder below it that tokenizers look into."""
    count = 0
    for folder in (root, root / "additional_chat_templates"):
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                if count > MAX_FILES:
                    raise ModelError("too_many_files", path=str(root), limit=MAX_FILES)
                yield Path(entry.path)


def _read_json(file: Path, error: type[PostilError]) -> Mapping[str, Any]:
    if file.stat().st_size > MAX_JSON_BYTES:
        raise error("config_unreadable", file=file.name, path=str(file.parent))
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as broken:
        raise error("config_unreadable", file=file.name, path=str(file.parent)) from broken
    if not isinstance(content, dict):
        raise error("config_unreadable", file=file.name, path=str(file.parent))
    return content


# ── what the configs say ──────────────────────────────────────────────────────────────────────────


def _check_config(name: str, content: Mapping[str, Any], error: type[PostilError]) -> None:
    for key, value in _pairs(content):
        refused = _refused(key, value)
        if refused:
            raise error("unsafe_config", file=name, key=key[:60], value=str(value)[:60])
        if key == "quantization_config" and value:
            raise error("quantised_base", file=name)


def _pairs(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    waiting: list[Any] = [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield from node.items()
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _refused(key: str, value: Any) -> bool:
    """Whether a library that reads this pair could run code, open another file or ask a network."""
    if key in ("auto_map", "custom_generate", "custom_pipelines") or key.endswith("_code"):
        return bool(value)
    if "attn_implementation" in key or key.endswith("_implementation"):
        return not _harmless_choice(value)
    if "kernel" in key and isinstance(value, str):
        return "/" in value or ":" in value
    if key in ("model_type", "tokenizer_class", "processor_class", "dtype", "torch_dtype", "parent_library"):
        return value is not None and not _plain_name(value)
    if key == "architectures":
        return value is not None and not (isinstance(value, list) and all(map(_plain_name, value)))
    if key == "transformers_weights":
        return not _weight_name(value)
    return False


def _harmless_choice(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_harmless_choice(part) for part in value.values())
    return value is None or value in ATTENTION or (isinstance(value, str) and value.isidentifier())


def _plain_name(value: Any) -> bool:
    if isinstance(value, dict):  # a dtype for each part of a model
        return all(_plain_name(part) for part in value.values())
    return value is None or (isinstance(value, str) and len(value) <= 100 and bool(_NAME.match(value)))


def _weight_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.match(value)) and value.endswith((".safetensors", ".index.json"))


def _check_architecture(config: Mapping[str, Any]) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING_NAMES:
        raise ModelError("unknown_architecture", model_type=str(model_type)[:60])


# ── weights ───────────────────────────────────────────────────────────────────────────────────────


def _check_weights(path: Path, files: Mapping[str, Path], error: type[PostilError]) -> None:
    weights = [file for name, file in sorted(files.items()) if name.endswith(".safetensors")]
    if not weights:
        pickled = [name for name in sorted(files) if name.endswith(PICKLED)]
        if pickled:
            raise error("unsafe_weights", file=pickled[0], path=str(path))
        raise error("no_weights", path=str(path))
    for file in weights:
        check_safetensors(file, error)
    for name, file in sorted(files.items()):
        if name.endswith(".safetensors.index.json"):
            _check_index(name, _read_json(file, error), files, error)


def _check_index(name: str, content: Mapping[str, Any], files: Mapping[str, Path], error: type[PostilError]) -> None:
    """An index may only name safetensors files that lie beside it."""
    named = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(part, str) for part in named.values()):
        raise error("config_unreadable", file=name, path="")
    for part in sorted(set(named.values())):
        if not _weight_name(part) or part not in files:
            raise error("missing_weights", file=str(part)[:100], index=name)


def _check_adapter(path: Path, files: Mapping[str, Path]) -> None:
    """Sizes and names of an adapter are those of one; its numbers are numbers."""
    config = _read_json(files[ADAPTER_CONFIG], AdapterError)
    rank = config.get("r", 8)
    patterns = config.get("rank_pattern") or {}
    ranks = [rank, *(patterns.values() if isinstance(patterns, dict) else [None])]
    if not all(type(r) is int and 1 <= r <= MAX_RANK for r in ranks):
        raise AdapterError("adapter_rank", rank=str(ranks[0])[:20], limit=MAX_RANK)
    weights = files.get(ADAPTER_WEIGHTS)
    if weights is None:
        raise AdapterError("no_weights", path=str(path))
    header = read_header(weights, AdapterError)
    _check_virtual(weights.name, config, header)
    check_config(config, ADAPTER_CONFIG)
    names = _OURS if "postil_method" in config else _NAMES.get(str(config.get("peft_type")), _LORA)
    saved_whole = tuple(config.get("modules_to_save") or ())
    for name in header.tensors:
        if not names.match(name) and not any(f".{module}." in name for module in saved_whole):
            raise AdapterError("adapter_tensor", file=weights.name, tensor=name[:100])
    check_finite(weights, header)


def _check_virtual(file: str, config: Mapping[str, Any], header: Header) -> None:
    """Virtual tokens are as many and as wide as the config says, before anything is made in that size."""
    kind = str(config.get("peft_type"))
    if _NAMES.get(kind) is not _VIRTUAL or "postil_method" in config:
        return
    told = [config.get(name) for name in ("num_virtual_tokens", "token_dim", "num_layers")]
    known = all(isinstance(number, int) and number > 0 for number in told)
    tensor = header.tensors.get("prompt_embeddings")
    if known and tensor is not None:
        count, width, layers = (int(number) for number in told if number is not None)
        if tensor.shape == (count, width * (2 * layers if kind == "PREFIX_TUNING" else 1)):
            return
    raise AdapterError("adapter_tensor", file=file, tensor="prompt_embeddings")


# ── fingerprints ──────────────────────────────────────────────────────────────────────────────────


def _hash(files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.name}\0{content}\n".encode())
    return total.hexdigest()


def _remembered(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}


def _remember(cache: Path, known: Mapping[str, str]) -> None:
    """Best effort: a cache that cannot be written only costs time."""
    fresh = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        make_directory(cache.parent)
        fresh.write_text(json.dumps(dict(known)), "utf-8")
        fresh.replace(cache)
    except OSError:
        fresh.unlink(missing_ok=True)
