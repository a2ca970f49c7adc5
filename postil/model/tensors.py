"""A safetensors file, looked at without opening it as tensors: header, offsets, numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.errors import AdapterError, PostilError

MAX_HEADER_BYTES = 4 << 20  # some 30,000 tensors; the format allows 100 MB, which Python would blow up to gigabytes
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4,
}  # fmt: skip
# exponent bits of the float formats: all of them set means infinite or not a number
_EXPONENT = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF << 52)}
_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: bytes from `begin` to `end`, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself. `start`: where its data begins [bytes]."""

    tensors: Mapping[str, Tensor]
    start: int


class _Broken(ValueError):
    """`what` of the header is wrong; a word for `error.bad_safetensors.*`."""


def read_header(path: Path, error: type[PostilError]) -> Header:
    """The header of a safetensors file, once it describes exactly the file's bytes: no hole, no overlap, no rest.

    Raises `error("bad_safetensors")` otherwise. Time and memory are bounded by MAX_HEADER_BYTES.
    """
    try:
        return _header(path)
    except (_Broken, RecursionError) as broken:
        raise error("bad_safetensors", file=path.name, detail=str(broken)[:200]) from broken


def check_finite(path: Path, header: Header) -> None:
    """Refuse an adapter with infinite numbers or with what is not a number. Reads the whole file, a piece at a time."""
    import numpy as np

    with path.open("rb") as stream:
        for name, tensor in header.tensors.items():
            if tensor.dtype not in _EXPONENT:
                raise AdapterError("adapter_tensor", file=path.name, tensor=name[:100])
            kind, mask = _EXPONENT[tensor.dtype]
            stream.seek(header.start + tensor.begin)
            for size in _pieces(tensor.end - tensor.begin):
                bits = np.frombuffer(stream.read(size), dtype=kind)
                if bool(((bits & mask) == mask).any()):
                    raise AdapterError("adapter_not_finite", file=path.name, tensor=name[:100])


def _pieces(total: int) -> list[int]:
    return [min(_CHUNK, total - at) for at in range(0, total, _CHUNK)]


def _header(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise _Broken(f"header of {length} bytes in a file of {size}")
        text = stream.read(length)
    if not text.startswith(b"{"):
        raise _Broken("header is not JSON")
    try:
        content = json.loads(text, object_pairs_hook=_no_twins)
    except _Broken:
        raise
    except ValueError as broken:
        raise _Broken("header is not JSON") from broken
    content.pop("__metadata__", None)
    if len(content) > MAX_TENSORS:
        raise _Broken(f"{len(content)} tensors")
    tensors = {name: _tensor(name, entry) for name, entry in content.items()}
    _check_cover(tensors, size - 8 - length)
    return Header(tensors, 8 + length)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Broken("a name stands twice in the header")
    return found


def _tensor(name: str, entry: Any) -> Tensor:
    label = name[:60]
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Broken(f"entry of {label}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _Broken(f"dtype of {label}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise _Broken(f"shape of {label}")
    if not _counts(offsets) or len(offsets) != 2:
        raise _Broken(f"offsets of {label}")
    begin, end = offsets
    if math.prod(shape) * BITS[dtype] != (end - begin) * 8:
        raise _Broken(f"size of {label}")
    return Tensor(dtype, tuple(shape), begin, end)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(part) is int and 0 <= part < 1 << 63 for part in value)


def _check_cover(tensors: Mapping[str, Tensor], size: int) -> None:
    """The tensors stand one after the other and fill the file."""
    at = 0
    for tensor in sorted(tensors.values(), key=lambda t: (t.begin, t.end)):
        if tensor.begin != at:
            raise _Broken(f"hole or overlap at byte {min(at, tensor.begin)}")
        at = tensor.end
    if at != size:
        raise _Broken(f"{at} bytes described, {size} there")
