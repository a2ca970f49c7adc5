"""Where the answers of a base are computed, and in which numbers, when nobody says it: what "auto" means here."""

from __future__ import annotations

from pathlib import Path

import torch

from postil.settings import AUTO

ROOM_BYTES = 3 << 29  # on a GPU beside the weights: CUDA's own, and answers under way


def place(base: Path, device: str, dtype: str) -> tuple[str, str]:
    """Device and dtype for the model in `base`.

    device "auto": the GPU that torch names first, if the weights have room on it now; else the CPU. dtype "auto":
    bfloat16 on a GPU that has it, as adapters are trained there; else float32.
    """
    if device == AUTO:
        device = "cuda" if torch.cuda.is_available() and _has_room(base) else "cpu"
    if dtype == AUTO:
        halves = (
            device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        )
        dtype = "bfloat16" if halves else "float32"
    return device, dtype


def _has_room(base: Path) -> bool:
    weights = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    return bool(torch.cuda.mem_get_info()[0] > weights + ROOM_BYTES)
