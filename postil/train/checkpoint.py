"""Checkpoints that are whole or do not exist: adapter, optimizer moments and position, with a manifest of hashes.

They hold tensors (safetensors) and numbers (JSON) and no random state: the order of the data and dropout are functions
of (seed, step). A checkpoint that does not match its manifest is set aside, and the one before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from shutil import rmtree

import torch

from postil.errors import TrainError
from postil.model.adapt import read_tensors, write_tensors
from postil.store import publish, read_json, sha256, sync, temporary_directory, write_json

Tensors = dict[str, torch.Tensor]
FILES = ("adapter.safetensors", "best.safetensors", "moments.safetensors", "state.json")


@dataclass(frozen=True)
class Position:
    """Where a run stands, and every value that it found out on its way."""

    step: int = 0  # updates done
    best_step: int = 0
    best_loss: float | None = None
    best_right: float | None = None  # share of the validation rows, tokens or labels; None: the metric is a loss
    best_counted: int = 0  # of how many
    base_loss: float | None = None
    without_gain: int = 0  # validations since the best one
    learning_rate: float | None = None  # as probed; None: not decided yet
    micro_batch_tokens: int = 0  # as it stands after any retreat from too little memory
    packs: bool | None = None  # whether rows are packed; None: not found out yet
    trained_tokens: int = 0
    trained_parameters: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)  # of these seconds, what was not training itself
    dropout: str = ""  # how its seeds are made; older versions: otherwise, and they did not say


@dataclass(frozen=True)
class Saved:
    """`best` is the adapter with the best validation so far: it travels along, so that any one will do."""

    position: Position
    weights: Tensors
    best: Tensors
    moments: Tensors


def save(directory: Path, saved: Saved) -> Path:
    """Write a checkpoint below `directory`, named by its step."""
    final = directory / f"step-{saved.position.step:08d}"
    with temporary_directory(final) as made:
        for name, tensors in zip(FILES[:3], (saved.weights, saved.best, saved.moments), strict=True):
            write_tensors(tensors, made / name)
            sync(made / name)
        write_json(made / "state.json", asdict(saved.position))
        write_json(made / "manifest.json", {name: sha256(made / name) for name in FILES})
        if final.exists():  # the same step again after a resume: the new one is as good, and whole
            rmtree(final)
        publish(made, final)
    return final


def latest(directory: Path) -> tuple[Saved | None, list[str]]:
    """The newest checkpoint that is whole, and the names of those that were set aside because they are not."""
    broken: list[str] = []
    for path in sorted(directory.glob("step-*"), reverse=True):
        if whole(path):
            return read(path), broken
        aside = directory / "quarantine" / path.name
        aside.parent.mkdir(exist_ok=True)
        rmtree(aside, ignore_errors=True)
        path.rename(aside)
        broken.append(path.name)
    return None, broken


def whole(path: Path) -> bool:
    """Whether every file of a checkpoint is as its manifest says."""
    try:
        manifest: Mapping[str, str] = read_json(path / "manifest.json")
        return set(manifest) == set(FILES) and all(sha256(path / name) == manifest[name] for name in FILES)
    except (OSError, ValueError):
        return False


def read(path: Path) -> Saved:
    """A checkpoint that is whole. One of an older version lacks values, which then are what they are at a beginning.

    Raises TrainError `checkpoint_newer` when it holds values that this version does not know.
    """
    told = read_json(path / "state.json")
    unknown = sorted(set(told) - {one.name for one in fields(Position)})
    if unknown:
        raise TrainError("checkpoint_newer", path=str(path), names=", ".join(unknown)[:200])
    tensors = (read_tensors(path / name) for name in FILES[:3])
    return Saved(Position(**told), *tensors)


def tidy(directory: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what a crash left half written."""
    for half in directory.glob(".tmp-*"):
        rmtree(half, ignore_errors=True)
    for path in sorted(directory.glob("step-*"), reverse=True)[keep:]:
        rmtree(path)
