"""Every field stands in one group; what has no effect is known by the plan's own words."""

from typing import get_args

import pytest

from postil.locales import knows
from postil.plan import groups, matters
from postil.plan.groups import _told
from postil.records import Method, Plan, Task


def test_each_field_stands_in_one_group_that_has_a_name():
    listed = [field for fields in groups().values() for field in fields]
    assert sorted(listed) == sorted(Plan.model_fields)
    assert all(knows(f"web.plan.group.{name}") for name in groups())


def test_only_names_that_there_are():
    known = {"method": set(get_args(Method)), "task": set(get_args(Task))}
    for field, only in _told()["only_for"].items():
        assert field in Plan.model_fields
        for other, wanted in only.items():
            assert set(wanted) <= known[other]


@pytest.mark.parametrize(("field", "values", "has"), [
    ("r", {"method": "lora"}, True), ("r", {"method": "full"}, False), ("bottleneck", {"method": "bottleneck"}, True),
    ("dpo_beta", {"task": "causal_lm"}, False), ("dpo_beta", {"task": "dpo"}, True), ("seed", {"method": "full"}, True),
    ("temperature", {"task": "seq_cls"}, False), ("r", {}, False),
])  # fmt: skip
def test_what_has_an_effect(field, values, has):
    assert matters(field, values) is has
