"""The only reader of environment variables: each has a name, a default and a help text in `locales/`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


def _text(name: str, default: str) -> str:
    return os.environ.get(name, default)


def _number(name: str, default: float) -> float:
    try:
        return float(os.environ.get(name, default))
    except ValueError:
        return default


@dataclass(frozen=True)
class Settings:
    """Where things lie and what they cost on this machine. `postil doctor` prints them all.

    home            POSTIL_HOME              base models and caches
    language        POSTIL_LANG              zh | en; empty: the system's
    hub             POSTIL_HUB               huggingface | modelscope; empty: chosen by language
    hub_mirror      POSTIL_HF_ENDPOINT       another address that speaks Hugging Face's protocol
    price_per_kwh   POSTIL_PRICE_PER_KWH     price of a kilowatt-hour, in `currency`
    price_per_hour  POSTIL_PRICE_PER_HOUR    price of a rented machine's hour, in `currency`; 0: own machine
    watts           POSTIL_WATTS             what this machine draws while training
    currency        POSTIL_CURRENCY          CNY | USD
    cny_per_usd     POSTIL_CNY_PER_USD       exchange rate, to show both
    require_all     POSTIL_REQUIRE_ALL       tests only: a skipped test is a failure
    """

    home: Path = field(default_factory=lambda: Path(_text("POSTIL_HOME", "~/.postil")).expanduser())
    language: str = field(default_factory=lambda: _text("POSTIL_LANG", ""))
    hub: str = field(default_factory=lambda: _text("POSTIL_HUB", ""))
    hub_mirror: str = field(default_factory=lambda: _text("POSTIL_HF_ENDPOINT", ""))
    price_per_kwh: float = field(default_factory=lambda: _number("POSTIL_PRICE_PER_KWH", 0.6))
    price_per_hour: float = field(default_factory=lambda: _number("POSTIL_PRICE_PER_HOUR", 0.0))
    watts: float = field(default_factory=lambda: _number("POSTIL_WATTS", 65.0))
    currency: str = field(default_factory=lambda: _text("POSTIL_CURRENCY", "CNY"))
    cny_per_usd: float = field(default_factory=lambda: _number("POSTIL_CNY_PER_USD", 7.1))
    require_all: bool = field(default_factory=lambda: _text("POSTIL_REQUIRE_ALL", "") == "1")


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together, as torchrun says it (one process if it says nothing)."""

    rank: int = field(default_factory=lambda: int(_number("RANK", 0)))
    local_rank: int = field(default_factory=lambda: int(_number("LOCAL_RANK", 0)))
    world: int = field(default_factory=lambda: int(_number("WORLD_SIZE", 1)))


_QUIET = {
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait slow a shared machine down threefold
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",  # nothing is fetched but by `postil models pull`
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def quiet() -> None:
    """Set what OpenMP and the tokenizers read only once: to be called before torch is loaded."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def for_child() -> dict[str, str]:
    """The environment of a process that we start: ours, made quiet, and with UTF-8 whatever the system speaks."""
    return {**_QUIET, **os.environ, "PYTHONUTF8": "1"}


def online() -> dict[str, str]:
    """The environment for a child process that downloads: this one's, without the switches that forbid it."""
    closed = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    kept = {name: value for name, value in for_child().items() if name not in closed}
    return {**kept, "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
