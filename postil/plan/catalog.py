"""The base models that Postil knows by name, and those that lie in a directory. A new one is a line in catalog.json."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from postil.errors import ModelError
from postil.records import Base, Machine, Shape

MOSTLY_CHINESE = 0.3  # share of Chinese characters from which a model that knows Chinese is needed
RECOMMENDED_FAMILY = "qwen3"
CPU_LIMIT = 2_000_000_000  # parameters beyond which training without a GPU takes days
_OVERHEAD_BYTES = 1_500_000_000
_ENCODER_DECODERS = ("t5", "mt5", "umt5", "longt5", "bart", "mbart", "pegasus", "blenderbot", "marian")


def bases() -> tuple[Base, ...]:
    """All base models of the catalogue, the embedded one first."""
    return tuple(base for base, _ in _catalogue())


def stated_sizes() -> dict[str, int]:
    """Name -> number of parameters as the model's authors state it."""
    return {base.name: size for base, size in _catalogue()}


def find(name_or_path: str, home: Path) -> Base:
    """The base model of that name, repository id (any case) or directory; `path` is set where it is on disk.

    Raises ModelError: unknown_base with the nearest names, no_directory, no_config, config_unreadable.
    """
    wanted = name_or_path.strip().lower()
    for base in bases():
        if wanted == base.name or wanted in (reference.lower() for reference in base.sources.values()):
            return _placed(base, home / "models" / base.name)
    directory = Path(name_or_path).expanduser()
    if directory.is_dir():
        return _of_directory(directory)
    added = home / "models" / name_or_path
    if _is_name(name_or_path) and (added / "config.json").is_file():
        return _of_directory(added)
    if _looks_like_path(name_or_path):
        raise ModelError("no_directory", path=name_or_path)
    raise ModelError("unknown_base", name=name_or_path, close=", ".join(_close(wanted)) or "-")


def known(home: Path) -> list[Base]:
    """The catalogue, and what has been added to `home` by hand."""
    added = [path.parent.name for path in sorted((home / "models").glob("*/config.json"))]
    return [find(name, home) for name in dict.fromkeys([*(base.name for base in bases()), *added])]


def recommend(chinese_share: float, machine: Machine) -> tuple[Base, str, Mapping[str, Any]]:
    """The base model to take for data of this kind on this machine, with the code and values of the reason.

    chinese_share: of the letters in the data [0..1]. The embedded model is only named where nothing else fits.
    """
    chinese = chinese_share >= MOSTLY_CHINESE
    family = sorted((b for b in bases() if b.family == RECOMMENDED_FAMILY), key=lambda b: b.shape.parameters)
    fitting = [base for base in family if _fits(base.shape, machine)]
    room = _gigabytes(_room(machine))
    if not fitting:
        return bases()[0], "base_nothing_fits", {"base": family[0].name, "free": room}
    best = fitting[-1]
    values = {"base": best.name, "share": round(100 * chinese_share), "free": room,
              "needed": _gigabytes(needed_bytes(best.shape, machine))}  # fmt: skip
    return best, "base_for_chinese" if chinese else "base_by_memory", values


def needed_bytes(shape: Shape, machine: Machine) -> int:
    """Memory that training a LoRA on a model of this shape takes at least: on a GPU in 16 bits, else in 32."""
    width = 2 if machine.gpu_memory_bytes else 4
    return int(shape.parameters * width * 1.25) + _OVERHEAD_BYTES


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The sizes in a config.json, whatever its family calls them; a `text_config` inside is used if there is one.

    Raises ModelError config_unreadable if a size is missing or is no number.
    """
    text = {**config, **nested} if isinstance(nested := config.get("text_config"), Mapping) else config
    hidden = _number(text, "hidden_size", "n_embd", "d_model", "dim")
    if text.get("is_encoder_decoder") or str(text.get("model_type", "")) in _ENCODER_DECODERS:
        return _two_sided(text, hidden)
    heads = _number(text, "num_attention_heads", "n_head", "n_heads")
    return Shape(
        layers=_number(text, "num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        hidden=hidden,
        intermediate=_number(text, "intermediate_size", "n_inner", "ffn_dim", "hidden_dim", default=4 * hidden),
        heads=heads,
        kv_heads=_number(text, "num_key_value_heads", default=heads),
        head_dim=_number(text, "head_dim", default=hidden // max(1, heads)),
        vocab=_number(text, "vocab_size"),
        context=_number(text, "max_position_embeddings", "n_positions", default=2048),
        tied=bool(text.get("tie_word_embeddings", _tied_by_default(text))),
    )


def _two_sided(config: Mapping[str, Any], hidden: int) -> Shape:
    """The sizes of an encoder and a decoder, as T5's and BART's families name them."""
    encoder = _number(config, "encoder_layers", "num_layers", "num_hidden_layers")
    heads = _number(config, "decoder_attention_heads", "num_heads", "num_attention_heads")
    return Shape(
        layers=_number(config, "decoder_layers", "num_decoder_layers", default=encoder),
        hidden=hidden,
        intermediate=_number(config, "d_ff", "decoder_ffn_dim", "intermediate_size", default=4 * hidden),
        heads=heads,
        kv_heads=heads,
        head_dim=_number(config, "d_kv", default=hidden // max(1, heads)),
        vocab=_number(config, "vocab_size"),
        context=_number(config, "max_position_embeddings", "n_positions", default=2048),
        tied=bool(config.get("tie_word_embeddings", True)),
        encoder_layers=encoder,
        gated="gated" in str(config.get("feed_forward_proj", "")),
    )


def _number(config: Mapping[str, Any], *names: str, default: int | None = None) -> int:
    for name in names:
        value = config.get(name)
        if type(value) is int and 0 < value < 1 << 31:
            return value
    if default is None:
        raise ModelError("config_unreadable", file="config.json", path=names[0])
    return default


def _tied_by_default(config: Mapping[str, Any]) -> bool:
    """What transformers assumes where the config says nothing."""
    return str(config.get("model_type", "")).startswith(("gemma", "gpt2"))


@cache
def _catalogue() -> tuple[tuple[Base, int], ...]:
    lines = json.loads(Path(__file__).with_name("catalog.json").read_text("utf-8"))
    return tuple((_base(line), line["size"]) for line in lines)


def _base(line: Mapping[str, Any]) -> Base:
    kind, reference = next(iter(line["sources"].items()))
    return Base(
        name=line["name"],
        shape=Shape(**line["shape"]),
        source=f"{kind}:{reference}",
        sources=line["sources"],
        files=line.get("files", {}),
        licence=line["licence"],
        languages=tuple(line["languages"]),
        family=line["family"],
        note=line.get("note", ""),
    )


def _placed(base: Base, path: Path) -> Base:
    """`base` with the path and the source that it was really fetched from, if it is there."""
    if not (path / "source.json").is_file():
        return base
    return replace(base, path=path, source=str(_said(path).get("source", base.source)))


def _of_directory(directory: Path) -> Base:
    file = directory / "config.json"
    if not file.is_file():
        raise ModelError("no_config", path=str(directory))
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as broken:
        raise ModelError("config_unreadable", file=file.name, path=str(directory)) from broken
    if not isinstance(config, dict):
        raise ModelError("config_unreadable", file=file.name, path=str(directory))
    said = _said(directory)
    return Base(
        name=directory.resolve().name,
        shape=shape_of(config),
        source=str(said.get("source", f"directory:{directory.resolve()}")),
        licence=str(said.get("licence", "")),
        family=str(config.get("model_type", "")),
        path=directory.resolve(),
    )


def _said(directory: Path) -> Mapping[str, Any]:
    """What `source.json` says; nothing if it is not there or not readable."""
    try:
        said = json.loads((directory / "source.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _fits(shape: Shape, machine: Machine) -> bool:
    small_enough = machine.gpu_memory_bytes > 0 or shape.parameters <= CPU_LIMIT
    return small_enough and needed_bytes(shape, machine) <= _room(machine)


def _room(machine: Machine) -> int:
    return machine.gpu_memory_bytes or machine.free_bytes


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"


def _is_name(text: str) -> bool:
    return bool(text) and not set(text) & set("/\\:") and text not in (".", "..")


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~", "\\")) or ":" in text[:3] or text.count("/") > 1


def _close(wanted: str) -> list[str]:
    """The three names nearest to `wanted`, judged by the part behind a slash."""
    short = wanted.rsplit("/", 1)[-1]
    names = [base.name for base in bases()]
    near = difflib.get_close_matches(short, names, n=3, cutoff=0.4)
    return near or [name for name in names if short and name.startswith(short[:4])][:3]
