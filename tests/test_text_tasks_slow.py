"""Preferences and plain text with the demonstration model: what is to rise rises, what is to fall falls."""

from __future__ import annotations

import json

import pytest

from postil import flow
from postil.dataset import load
from postil.samples import sample

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.timeout(3600)]  # minutes each on a slow machine


def evaluated(name, directory, **settings):
    base = flow.find_base(flow.EMBEDDED)
    told = {"learning_rate_probe": "false", "max_new_tokens": "8", "threads": "1", "training_rows": "24",
            "validation_rows": "4", "test_rows": "20", "patience": "100", **settings}  # fmt: skip
    prepared = flow.plan(load(sample(name)), flow.fetched(base), settings=told, measure=False)
    flow.train(prepared, directory, lambda event: None)
    return json.loads((directory / "evaluation.json").read_text("utf-8"))


def test_the_wanted_answers_become_the_likelier_ones(tmp_path):
    found = evaluated("preferences", tmp_path / "out", n_epochs="1", learning_rate="6e-4", test_rows="12")
    assert found["tuned"]["preferred"] > found["base"]["preferred"]
    assert found["tuned"]["reward_margin"] > 0.1 and found["verdict"]["metric"] == "preferred"


def test_unseen_texts_of_the_same_kind_are_predicted_better(tmp_path):
    found = evaluated("handbook", tmp_path / "out", n_epochs="1", learning_rate="2e-3")
    assert found["tuned"]["loss"] < 0.8 * found["base"]["loss"]
    assert found["tuned"]["perplexity"] < found["base"]["perplexity"]
    assert found["verdict"]["metric"] == "loss" and found["verdict"]["outcome"] == "better"
