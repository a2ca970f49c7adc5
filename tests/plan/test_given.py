"""A plan of an earlier run is taken as it is; what is none is refused with a code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postil.errors import PlanError
from postil.plan import read_given
from postil.plan.catalog import bases
from postil.records import Plan
from tests.plan.test_choose import chosen

RUN = {
    "postil": "0.1.0", "plan": Plan(r=32, learning_rate=5e-4).model_dump(), "reasons": {}, "kind": "chat",
    "base": {"name": "smollm2-135m-instruct", "path": "/elsewhere"},
    "data": {"system": "你是店员。", "instruction": None},
}  # fmt: skip


def written(folder: Path, content: Any) -> Path:
    file = folder / "plan.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return file


def test_the_plan_of_a_run_with_what_it_was_made_with(tmp_path: Path) -> None:
    given = read_given(written(tmp_path, RUN))
    assert given.values["r"] == 32 and given.values["learning_rate"] == 5e-4
    assert (given.base, given.system, given.instruction) == ("smollm2-135m-instruct", "你是店员。", None)
    assert set(given.values) == set(Plan.model_fields) - {"system", "instruction"}


def test_nothing_is_probed_and_the_rate_that_was_found_is_taken(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"learning_rate": 1.5e-3}))
    given = read_given(written(tmp_path, RUN))
    assert given.values["learning_rate"] == 1.5e-3 and given.values["learning_rate_probe"] is False
    for rubbish in ("{", "[]", '{"learning_rate": null}', '{"learning_rate": 99}', '{"learning_rate": "fast"}'):
        (tmp_path / "result.json").write_text(rubbish)
        assert read_given(tmp_path / "plan.json").values["learning_rate"] == 5e-4


def test_a_bare_object_holds_what_it_holds(tmp_path: Path) -> None:
    given = read_given(written(tmp_path, {"r": 16, "system": "be kind"}))
    assert given.values == {"r": 16, "learning_rate_probe": False} and given.system == "be kind" and given.base is None


def test_a_base_that_nobody_knows_by_name_is_found_by_its_place(tmp_path: Path) -> None:
    assert (
        read_given(written(tmp_path, {**RUN, "base": {"name": "tiny", "path": "/models/tiny"}})).base == "/models/tiny"
    )
    assert read_given(written(tmp_path, {**RUN, "base": "?"})).base is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '"r"', '{"plan": []}', "[" * 100_000])
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(PlanError) as refused:
        read_given(written(tmp_path, content))
    assert refused.value.code == "plan_unreadable" and "plan.json" in refused.value.cause("en")
    assert '{"' in refused.value.remedy("zh")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(PlanError) as refused:
            read_given(path)
        assert refused.value.code == "plan_unreadable"


@pytest.mark.parametrize(("values", "code"), [({"rank": 8}, "unknown_field"), ({"r": 0}, "setting_range"),
                                              ({"r": [8]}, "setting_integer"), ({"dtype": "int4"}, "setting_choice"),
                                              ({"plan": {"epochs": 3}}, "unknown_field")])  # fmt: skip
def test_wrong_fields_have_their_codes(tmp_path: Path, values: dict[str, Any], code: str) -> None:
    with pytest.raises(PlanError) as refused:
        read_given(written(tmp_path, values))
    assert refused.value.code == code


def test_a_wish_comes_before_a_given_plan_and_that_before_a_preset() -> None:
    from postil.plan.choose import choose
    from tests.plan.test_choose import COUNTS, MACHINE, SMALL, TITLES

    given = {"r": 64, "lora_alpha": 7, "learning_rate_probe": False}
    plan, reasons = choose(TITLES, COUNTS, SMALL, MACHINE, None, "small_data", {"lora_alpha": 9}, given)
    assert (plan.r, plan.lora_alpha, plan.n_epochs, plan.learning_rate_probe) == (64, 9, 10, False)
    assert (reasons["r"].source, reasons["lora_alpha"].source) == ("plan", "user")
    assert all(choice.why(lang) for choice in reasons.values() for lang in ("zh", "en"))


def test_a_whole_plan_comes_back_as_it_was() -> None:
    from postil.plan.choose import choose
    from tests.plan.test_choose import COUNTS, MACHINE, QUESTIONS, SMALL

    earlier, _ = chosen(base=bases()[0])
    again, _ = choose(QUESTIONS, COUNTS, SMALL, MACHINE, None, None, {}, earlier.model_dump())
    assert again == earlier
