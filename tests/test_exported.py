"""The public names are a list that is kept on purpose, and importing them loads nothing."""

from __future__ import annotations

import importlib

import pytest

import postil

PUBLIC = [
    "AdapterError", "Answer", "Base", "Comparison", "DataError", "Dataset", "Evaluation", "Event", "Example",
    "FileError", "Issue", "Message", "ModelError", "Plan", "PlanError", "PostilError", "Prepared", "Reading", "Repair",
    "TrainError", "Verdict", "__version__", "flow",
]  # fmt: skip
VERBS = ["check", "xray", "plan", "train", "resume", "evaluate", "export", "answer", "find_base", "fetched"]


def test_the_public_names_are_these() -> None:
    assert postil.__all__ == PUBLIC == sorted(PUBLIC)
    assert dir(postil) == PUBLIC


def test_each_public_name_is_there() -> None:
    for name in PUBLIC:
        assert getattr(postil, name) is not None


def test_flow_has_the_verbs() -> None:
    for verb in VERBS:
        assert callable(getattr(postil.flow, verb)) and getattr(postil.flow, verb).__doc__


def test_the_rooms_keep_their_names() -> None:
    """`postil.plan` is a room; a verb of that name at the top would hide it from `from postil import plan`."""
    for room in ("dataset", "plan", "train", "evaluate", "export"):
        assert room not in PUBLIC
        assert importlib.import_module(f"postil.{room}").__name__ == f"postil.{room}"


def test_what_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = postil.trian
