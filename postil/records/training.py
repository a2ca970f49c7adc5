"""What a run tells while it goes on, what is wrong with it, and the adapter that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from postil.locales import as_argument, say
from postil.records.dataset import Severity
from postil.records.plan import Plan

# What an adapter can be made into for others.
Target = Literal["merged", "peft", "gguf", "gguf-lora", "ollama", "script", "vllm"]

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as PEFT calls its files


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run. `type`: stage, timed, metrics, checkpoint, message, done."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    level: Literal["info", "warn", "error"] = "info"

    def as_json(self) -> dict[str, Any]:
        return {"type": self.type, "level": self.level, **self.data}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a run. `finding.<code>.message` and `.fix` in `locales/` are its sentences.

    `settings`: the fields of the plan that the fix changes, with their new values; empty when no setting mends it.
    """

    code: str
    severity: Severity
    values: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def message(self, lang: str | None = None) -> str:
        return say(f"finding.{self.code}.message", lang, **self.values)

    def fix(self, lang: str | None = None) -> str:
        return say(f"finding.{self.code}.fix", lang, **self.values)

    def options(self) -> str:
        """The settings as a command line takes them."""
        return " ".join(f"--set {as_argument(f'{name}={setting}')}" for name, setting in self.settings.items())

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity, "message": self.message(), "fix": self.fix(),
                "settings": dict(self.settings), "values": dict(self.values)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adapter:
    """A directory with a trained adapter and what is known of it."""

    path: Path
    base: str  # name in the catalogue, or a directory
    base_path: Path
    base_sha256: str
    plan: Plan
