"""How much of an adapter's update counts in each layer, as PEFT's config says it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from postil.errors import AdapterError

PEFT_RANK = 8  # where a config says none
_PLAIN_KEY = re.compile(r"\^?[\w.]+\$?")


def scale_of(path: Path, config: Mapping[str, Any], layer: str, r: int) -> float:
    """What stands before B A in `layer`, whose rank is r. `path`: the adapter's directory, for what it refuses.

    Raises AdapterError `adapter_kind` for patterns that are more than names.
    """
    alpha = float(_of(path, config, "alpha_pattern", layer, config.get("lora_alpha", r)))
    return alpha / (math.sqrt(r) if config.get("use_rslora") else r)


def rank_of(path: Path, config: Mapping[str, Any], layer: str) -> int:
    """The rank of `layer`. Raises AdapterError as `scale_of` does."""
    return int(_of(path, config, "rank_pattern", layer, config.get("r", PEFT_RANK)))


def _of(path: Path, config: Mapping[str, Any], pattern: str, name: str, otherwise: Any) -> Any:
    """The entry of a pattern that means the layer `name`. No expression out of a file is run: plain names only."""
    for key, value in (config.get(pattern) or {}).items():
        if not _PLAIN_KEY.fullmatch(key):
            raise AdapterError("adapter_kind", path=str(path), reason=f"{pattern} {key[:100]}")
        plain = key.removeprefix("^").removesuffix("$")
        if name == plain or (name.endswith(f".{plain}") and not key.startswith("^")):
            return value
    return otherwise
