"""A PEFT directory becomes the two small matrices of each layer that it adapts, ready to be added to the base's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from postil.errors import AdapterError
from postil.model.adapt import CONFIG, WEIGHTS, read_tensors
from postil.model.boundary import adapter_boundary
from postil.model.scaling import rank_of, scale_of
from postil.model.trust import check_directory
from postil.serve.kind import beyond
from postil.store import read_json

_NARROWING = ("layers_to_transform", "layers_pattern", "exclude_modules")  # what leaves out some of the targets
_TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class Lora:
    """layers: path in the base -> (down [in, r], up [r, out], with the scale in it). What it adds is x @ down @ up."""

    path: Path
    layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]

    @property
    def shape(self) -> tuple[tuple[str, int], ...]:
        """Which layers it adapts, and with which r."""
        return tuple((name, down.shape[1]) for name, (down, _) in sorted(self.layers.items()))

    @property
    def bytes(self) -> int:
        return sum(down.nbytes + up.nbytes for down, up in self.layers.values())

    def scaled(self, scale: float) -> Lora:
        """The same, adding `scale` times as much."""
        if scale == 1.0:
            return self
        return Lora(self.path, {name: (down, up * scale) for name, (down, up) in self.layers.items()})


def read_lora(path: Path, linears: Mapping[str, torch.nn.Linear]) -> Lora:
    """The adapter in the directory `path`, in the number type of the base whose linear layers are `linears`.

    Raises AdapterError: `not_an_adapter`; `adapter_misfit`, when it belongs to another base or is damaged;
    `adapter_kind`, when it is more than two matrices a layer; `adapter_not_finite`, when its scale makes numbers that
    are none; and what `check_directory` refuses.
    """
    with adapter_boundary(path):
        return _read(path, linears)


def _read(path: Path, linears: Mapping[str, torch.nn.Linear]) -> Lora:
    if not (path / CONFIG).exists() or not (path / WEIGHTS).exists():
        raise AdapterError("not_an_adapter", path=str(path))
    check_directory(path)
    config = read_json(path / CONFIG)
    if more := beyond(config):
        raise AdapterError("adapter_kind", path=str(path), reason=", ".join(more))
    tensors = read_tensors(path / WEIGHTS)
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        if not found:
            raise AdapterError("adapter_kind", path=str(path), reason=name[:100])
        sides.setdefault(found["layer"], {})[found["side"]] = tensor
    absent = _targets(config, linears) - sides.keys()
    if absent or not sides:  # PEFT would leave them to chance
        raise AdapterError("adapter_misfit", path=str(path), reason=min(absent, default=WEIGHTS))
    return Lora(path, {name: _fitted(path, name, both, linears, config) for name, both in sides.items()})


def _targets(config: Mapping[str, Any], linears: Mapping[str, torch.nn.Linear]) -> set[str]:
    """The layers that it must have by its config, as far as that names them plainly."""
    targets = config.get("target_modules")
    if not isinstance(targets, list) or any(config.get(name) for name in _NARROWING):
        return set()
    return {name for name in linears if any(name == one or name.endswith(f".{one}") for one in targets)}


def _fitted(
    path: Path, name: str, sides: Mapping[str, torch.Tensor], linears: Mapping[str, torch.nn.Linear],
    config: Mapping[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The matrices of one layer, turned so that what is read for a token lies together."""
    linear, down, up = linears.get(name), sides.get("A"), sides.get("B")
    if linear is None or down is None or up is None:
        raise AdapterError("adapter_misfit", path=str(path), reason=name)
    r = down.shape[0]
    if down.shape != (r, linear.in_features) or up.shape != (linear.out_features, r):
        raise AdapterError("adapter_misfit", path=str(path), reason=f"{name} {tuple(down.shape)} {tuple(up.shape)}")
    if r != rank_of(path, config, name):
        raise AdapterError("adapter_misfit", path=str(path), reason=f"{name} r = {r}")
    dtype, scale = linear.weight.dtype, scale_of(path, config, name, r)
    matrices = down.to(dtype).t().contiguous(), (up.float() * scale).to(dtype).t().contiguous()
    if not all(bool(matrix.isfinite().all()) for matrix in matrices):
        raise AdapterError("adapter_not_finite", file=WEIGHTS, tensor=name[:100])
    return matrices
