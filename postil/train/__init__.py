"""A plan becomes an adapter."""

from postil.train.checkpoint import whole
from postil.train.run import (
    Told,
    examples_of,
    has_examples,
    keep,
    prepare,
    read_adapter,
    read_run,
    read_unfinished,
    refuse_to_overwrite,
    run,
)  # fmt: skip
from postil.train.trackers import order_trackers

__all__ = [
    "Told", "examples_of", "has_examples", "keep", "order_trackers", "prepare", "read_adapter", "read_run",
    "read_unfinished",
    "refuse_to_overwrite", "run", "whole",
]  # fmt: skip
