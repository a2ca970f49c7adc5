"""Every error says what happened and what to do, in both languages, and is one of a few kinds."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from postil import errors
from postil.errors import (
    AdapterError,
    DataError,
    EngineError,
    ExportError,
    FileError,
    JobError,
    ModelError,
    PlanError,
    PostilError,
    RequestError,
    StoreError,
    TrainError,
)

HAN = re.compile(r"[\u4e00-\u9fff]")
KINDS = {
    AdapterError, DataError, EngineError, ExportError, FileError, JobError, ModelError, PlanError, RequestError,
    StoreError, TrainError,
}  # fmt: skip
SENTENCES = (Path(errors.__file__).parent / "locales" / "en.json").read_text("utf-8")
CODES = sorted(
    key.split(".")[1] for key in json.loads(SENTENCES) if key.startswith("error.") and key.endswith(".cause")
)
ANYTHING = dict.fromkeys(set(re.findall(r"\{(\w+)", SENTENCES)) - {"rows", "lang"}, 7.0)  # a number goes anywhere


def test_the_tree_is_one_root_and_a_few_kinds() -> None:
    assert set(PostilError.__subclasses__()) == KINDS
    assert not [kind for kind in KINDS if kind.__subclasses__()]
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn == {kind.__name__ for kind in KINDS}


def test_an_error_says_cause_and_remedy(lang: str) -> None:
    error = FileError("file_missing", path="标题.xlsx")
    assert str(error) == f"{error.cause()}{'' if lang == 'zh' else ' '}{error.remedy()}"
    assert "标题.xlsx" in str(error)
    assert bool(HAN.search(error.remedy())) == (lang == "zh")


def test_an_error_can_be_read_in_the_other_language() -> None:
    error = TrainError("run_finished", path="out")
    assert HAN.search(error.cause("zh")) and not HAN.search(error.cause("en"))
    assert "--force" in error.remedy("zh") and "--force" in error.remedy("en")


def test_rows_travel_along_and_fill_nothing() -> None:
    error = DataError("labels_wrong", rows=[3, 9], n=2, causes="· too long (3, 9)")
    assert error.rows == (3, 9) and error.values == {"n": 2, "causes": "· too long (3, 9)"}


def test_a_copy_is_the_same_error() -> None:
    """Errors come back from child processes by their parts."""
    error = DataError("labels_wrong", rows=[3], n=1, causes="x")
    again = copy.copy(error)
    assert (type(again), again.code, again.rows, again.values) == (DataError, "labels_wrong", (3,), error.values)


def test_an_error_without_sentences_is_a_bug() -> None:
    with pytest.raises(KeyError):
        str(PostilError("no_such_code"))


def test_no_sentence_of_an_error_is_broken() -> None:
    """Each can be filled in and ends as a sentence does, or with a detail that was filled in."""
    for code in CODES:
        for lang in ("zh", "en"):
            error = PostilError(code, **ANYTHING)
            for text in (error.cause(lang), error.remedy(lang)):
                assert re.search(r"([.。\n）)”]|[:：] ?7.0)$", text), text
