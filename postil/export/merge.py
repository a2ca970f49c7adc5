"""The adapter's update is added to the base's weights, one tensor at a time; the base itself is never touched.

What is read is the file's own bytes and the adapter; what is written is a plain directory of safetensors. Memory holds
one tensor in float32 and the adapter, whatever the size of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from postil.errors import AdapterError, ExportError
from postil.model.adapt import CONFIG, WEIGHTS, read_tensors
from postil.model.boundary import adapter_boundary
from postil.model.load import DTYPES
from postil.model.scaling import scale_of
from postil.model.tensors import read_header
from postil.model.trust import check_directory
from postil.records import Base
from postil.store import read_json

OWN_KIND = "postil_method"  # in the config of an adapter that is no PEFT adapter
SHARD_BYTES = 5_000_000_000
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
_SCALE = re.compile(r"base_model\.model\.(?P<layer>.+)\.ia3_l")
_TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>A|B|magnitude_vector)(?:\.weight)?")
_WHOLE = re.compile(r"base_model\.model\.(?P<name>.+)")
# what an adapter may have that adding to a weight cannot say
_BEYOND = ("trainable_token_indices", "layer_replication", "alora_invocation_tokens", "lora_bias",
           "target_parameters", "use_bdlora", "arrow_config")  # fmt: skip
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True)
class Update:
    """What an adapter does to a layer's weight: W + scale · B A, for DoRA each row then scaled to `magnitude`."""

    down: torch.Tensor  # [r, in]
    up: torch.Tensor  # [out, r]
    scale: float
    magnitude: torch.Tensor | None = None  # [out]
    turned: bool = False  # the weight is stored as [in, out]

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """The merged weight in float32."""
        delta = self.scale * (self.up.float() @ self.down.float())
        merged = weight.float() + (delta.t() if self.turned else delta)
        if self.magnitude is None:
            return merged
        norm: torch.Tensor = torch.linalg.norm(merged, dim=1)
        return merged * (self.magnitude.float().flatten() / norm)[:, None]

    def fits(self, shape: tuple[int, ...]) -> bool:
        if not self.up.dim() == self.down.dim() == 2:
            return False
        size = (self.up.shape[0], self.down.shape[1])
        return self.down.shape[0] == self.up.shape[1] and shape == (size[::-1] if self.turned else size)


@dataclass(frozen=True)
class Scaling:
    """What (IA)³ does to a layer: its outputs (and so its bias), or in a feed-forward part its inputs, are scaled."""

    factors: torch.Tensor  # [out, 1] or [1, in]
    turned: bool = False

    @property
    def of_outputs(self) -> bool:
        return self.factors.shape[1] == 1

    def added_to(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight, or the bias [out], scaled, in float32."""
        factors = self.factors.float()
        if weight.dim() == 1:
            return weight.float() * factors[:, 0]
        return weight.float() * (factors.t() if self.turned else factors)

    def fits(self, shape: tuple[int, ...]) -> bool:
        size = shape[::-1] if self.turned else shape
        length = max(self.factors.shape)
        return length == (size[0] if self.of_outputs or len(size) == 1 else size[1])


@dataclass(frozen=True)
class Updates:
    """An adapter as updates of weights, by the layer's name in the model.

    whole: tensors that replace the base's; scaled: layers that are scaled; unties: words are no longer written by the
    very tensor that they are read by.
    """

    layers: Mapping[str, Update]
    whole: Mapping[str, torch.Tensor]
    ranks: tuple[int, ...]
    scaled: Mapping[str, Scaling] = field(default_factory=dict)
    unties: bool = False
    kept_whole: bool = False  # the trained tensors themselves are the adapter: full and partial tuning

    @property
    def plain(self) -> bool:
        """Whether it is two matrices for each layer and nothing else."""
        decomposed = any(update.magnitude is not None for update in self.layers.values())
        return not (self.whole or self.scaled or decomposed)


def read_updates(directory: Path) -> Updates:
    """The adapter in `directory`. Raises AdapterError when it is none, ExportError `merge_kind` when it does more
    than weights can say."""
    with adapter_boundary(directory):
        return _read_updates(directory)


def _read_updates(directory: Path) -> Updates:
    if not (directory / CONFIG).exists() or not (directory / WEIGHTS).exists():
        raise AdapterError("not_an_adapter", path=str(directory))
    check_directory(directory)
    config = read_json(directory / CONFIG)
    if config.get(OWN_KIND) in ("full", "partial"):
        return _read_whole(directory, config)
    _check_kind(directory, config)
    if config.get("peft_type") == "IA3":
        return _read_scaled(directory, config)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    whole: dict[str, torch.Tensor] = {}
    for name, tensor in read_tensors(directory / WEIGHTS).items():
        if found := _TENSOR.fullmatch(name):
            parts.setdefault(found["layer"], {})[found["side"]] = tensor
        elif ".lora_" not in name and (found := _WHOLE.fullmatch(name)):
            whole[found["name"]] = tensor
        else:
            raise ExportError("merge_kind", path=str(directory), reason=name[:100])
    layers = {name: _update(directory, config, name, sides) for name, sides in parts.items()}
    return Updates(layers, whole, tuple(sorted({len(update.down) for update in layers.values()})))


def _read_whole(directory: Path, config: Mapping[str, Any]) -> Updates:
    """Trained tensors by their own names in the base. Those that the base ties and that are both trained are one."""
    whole = read_tensors(directory / WEIGHTS)
    names = [name.strip() for name in str(config.get("trained_modules", "")).split(",")]
    both = config[OWN_KIND] == "full" or any(name.split(".")[-1] == "lm_head" for name in names)
    reads = [name for name in whole if _is_embedding(name)]
    unties = any(name.startswith("lm_head.") for name in whole) or (bool(reads) and not both)
    return Updates({}, whole, (), unties=unties, kept_whole=True)


def _read_scaled(directory: Path, config: Mapping[str, Any]) -> Updates:
    turned = bool(config.get("fan_in_fan_out"))
    scaled: dict[str, Scaling] = {}
    whole: dict[str, torch.Tensor] = {}
    for name, tensor in read_tensors(directory / WEIGHTS).items():
        if found := _SCALE.fullmatch(name):
            scaled[found["layer"]] = Scaling(tensor, turned)
        elif found := _WHOLE.fullmatch(name):
            whole[found["name"]] = tensor
    return Updates({}, whole, (), scaled)


def _check_kind(directory: Path, config: Mapping[str, Any]) -> None:
    beyond = [name for name in _BEYOND if config.get(name)]
    starts = config.get("init_lora_weights")
    if isinstance(starts, str) and starts.split("_")[0].lower() in _CHANGES_BASE:
        beyond.append(starts)
    if config.get("peft_type") not in ("LORA", "IA3"):
        beyond.append(str(config.get("peft_type")))
    if config.get("bias", "none") != "none":
        beyond.append("bias")
    if beyond:
        raise ExportError("merge_kind", path=str(directory), reason=", ".join(beyond))


def _update(directory: Path, config: Mapping[str, Any], name: str, sides: Mapping[str, torch.Tensor]) -> Update:
    if "A" not in sides or "B" not in sides:
        raise AdapterError("adapter_misfit", path=str(directory), reason=name)
    scale = scale_of(directory, config, name, len(sides["A"]))
    return Update(sides["A"], sides["B"], scale, sides.get("magnitude_vector"), bool(config.get("fan_in_fan_out")))


# ── the base, tensor by tensor ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor of the merged model: where its base lies, and what is done to it.

    source: its name in the file, where that is another; added: the base's files have no such tensor.
    """

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str  # of the result, as safetensors names it
    update: Update | Scaling | None = None
    whole: torch.Tensor | None = None
    source: str | None = None
    added: bool = False

    @property
    def bytes(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count * (8 if self.dtype in ("F64", "I64") else 4 if self.dtype in ("F32", "I32") else 2)


def plan_merge(base: Path, updates: Updates, dtype: str | None) -> list[Planned]:
    """All tensors of the merged model. dtype: of the result; None: each keeps the base's.

    Raises AdapterError `adapter_misfit` when the base lacks a layer or its size differs, ExportError `merge_tied` when
    a layer is changed that the base uses twice.
    """
    wanted = NAMES[DTYPES[dtype]] if dtype else None
    planned: list[Planned] = []
    left = {f"{name}.weight" for name in {**updates.layers, **updates.scaled}} | set(updates.whole)
    biases = {f"{name}.bias" for name, one in updates.scaled.items() if one.of_outputs}  # where there are any
    config = read_json(base / "config.json")
    tied = bool(config.get("tie_word_embeddings", False))
    for file in sorted(base.glob("*.safetensors")):
        for name, tensor in read_header(file, ExportError).tensors.items():
            known = next((one for one in _names(name) if one in left or one in biases), None)
            update, whole = _change(updates, known or name)
            left.discard(known or name)
            misfit = whole.shape != tensor.shape if whole is not None else update and not update.fits(tensor.shape)
            if misfit:
                raise AdapterError("adapter_misfit", path=str(base), reason=f"{name} {list(tensor.shape)}")
            kind = wanted if wanted and tensor.dtype in NAMES.values() else tensor.dtype
            planned.append(Planned(name, file, tensor.shape, kind, update, whole))
    if updates.unties and tied:
        planned += _untied(planned, updates)
        left -= {one.name for one in planned}
    if left:
        if config.get("tie_word_embeddings", True) and any("lm_head" in name for name in left):
            raise ExportError("merge_tied", layer=min(left))
        raise AdapterError("adapter_misfit", path=str(base), reason=min(left))
    if not updates.kept_whole:
        _refuse_twins(tied, planned)
    return planned


def _change(updates: Updates, name: str) -> tuple[Update | Scaling | None, torch.Tensor | None]:
    """What an adapter does to the tensor of that name in the model."""
    layer, _, part = name.rpartition(".")
    if part == "weight" and (layer in updates.layers or layer in updates.scaled):
        return updates.layers.get(layer) or updates.scaled[layer], None
    if part == "bias" and layer in updates.scaled and updates.scaled[layer].of_outputs:
        return updates.scaled[layer], None
    return None, updates.whole.get(name)


def _untied(planned: Sequence[Planned], updates: Updates) -> list[Planned]:
    """The output head that a base with tied words has no tensor for: the trained one, or what the base's was."""
    if any(one.name.startswith("lm_head.") for one in planned):
        return []
    embedding = next(one for one in planned if _is_embedding(one.name))
    head = updates.whole.get("lm_head.weight")
    return [replace(embedding, name="lm_head.weight", source=embedding.name, whole=head, update=None, added=True)]


def check_fit(adapter: Path, base: Base) -> None:
    """Whether an adapter belongs to a base, by the names and sizes in their files: nothing is loaded.

    Raises AdapterError `adapter_misfit`, ExportError `merge_kind`, `merge_tied` for one that does more than LoRA.
    """
    assert base.path is not None
    with adapter_boundary(adapter):
        plan_merge(base.path, read_updates(adapter), None)


def _refuse_twins(tied: bool, planned: Sequence[Planned]) -> None:
    """An update of the input embeddings would change the output head too, where both are one."""
    changed = [one.name for one in planned if one.update is not None or one.whole is not None]
    embeddings = [name for name in changed if _is_embedding(name) or "lm_head" in name]
    if embeddings and tied:
        raise ExportError("merge_tied", layer=embeddings[0])


def _is_embedding(name: str) -> bool:
    return "embed_tokens" in name or "wte" in name


def _names(name: str) -> tuple[str, ...]:
    """How the model may call a tensor of a file: with or without the name of its inner part."""
    return name, f"model.{name}", name.removeprefix("model."), name.replace("language_model.model.", "model.")


def merged(planned: Sequence[Planned]) -> Iterator[tuple[Planned, torch.Tensor]]:
    """Each tensor in its turn, merged and in its own dtype."""
    open_file: tuple[Path, Any] | None = None
    for one in planned:
        if open_file is None or open_file[0] != one.file:
            open_file = (one.file, safe_open(str(one.file), "pt"))
        tensor = one.whole if one.whole is not None else open_file[1].get_tensor(one.source or one.name)
        if one.update is not None:
            tensor = one.update.added_to(tensor)
        kinds = {name: kind for kind, name in NAMES.items()}
        yield one, tensor.to(kinds.get(one.dtype, tensor.dtype)).contiguous()


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def write_merged(planned: Sequence[Planned], directory: Path, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """The merged weights as safetensors in `directory`: one file, or shards with their index. Returns the files."""
    shards = _shards(planned, shard_bytes)
    files = [directory / _shard_name(i, len(shards)) for i in range(len(shards))]
    tensors = merged(planned)
    for file, shard in zip(files, shards, strict=True):
        with file.open("wb") as stream:
            stream.write(_header(shard))
            for one in shard:
                made, tensor = next(tensors)
                assert made is one
                stream.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
    if len(files) > 1:
        places = {one.name: file.name for file, shard in zip(files, shards, strict=True) for one in shard}
        index = {"metadata": {"total_size": sum(one.bytes for one in planned)}, "weight_map": places}
        index_file = directory / "model.safetensors.index.json"
        index_file.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
    return files


def _shards(planned: Sequence[Planned], most: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    size = 0
    for one in planned:
        if shards[-1] and size + one.bytes > most:
            shards.append([])
            size = 0
        shards[-1].append(one)
        size += one.bytes
    return shards


def _shard_name(number: int, of: int) -> str:
    return "model.safetensors" if of == 1 else f"model-{number + 1:05d}-of-{of:05d}.safetensors"


def _header(shard: Sequence[Planned]) -> bytes:
    """The header of a safetensors file with these tensors, one behind the other."""
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for one in shard:
        told[one.name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [at, at + one.bytes]}
        at += one.bytes
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
