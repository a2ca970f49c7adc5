"""A PEFT directory becomes the two small matrices of each layer that it adapts, ready to be added to the base's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from postil.errors import AdapterError
from postil.model.adapt import CONFIG, WEIGHTS, read_tensors
from postil.model.scaling import scale_of
from postil.model.trust import check_directory
from postil.serve.kind import beyond
from postil.store import read_json

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

    Raises AdapterError: `not_an_adapter`; `adapter_misfit`, when it belongs to another base; `adapter_kind`, when it is
    more than two matrices a layer.
    """
    if not (path / CONFIG).exists() or not (path / WEIGHTS).exists():
        raise AdapterError("not_an_adapter", path=str(path))
    check_directory(path)
    config = read_json(path / CONFIG)
    if more := beyond(config):
        raise AdapterError("adapter_kind", path=str(path), reason=", ".join(more))
    try:
        tensors = read_tensors(path / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise AdapterError("adapter_misfit", path=str(path), reason=str(error)) from error
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        if not found:
            raise AdapterError("adapter_kind", path=str(path), reason=name[:100])
        sides.setdefault(found["layer"], {})[found["side"]] = tensor
    return Lora(path, {name: _fitted(path, name, both, linears, config) for name, both in sides.items()})


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
    scale = scale_of(path, config, name, r)
    weight = linear.weight
    return down.to(weight.dtype).t().contiguous(), (up.float() * scale).to(weight.dtype).t().contiguous()
