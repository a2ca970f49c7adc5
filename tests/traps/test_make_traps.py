"""The trap files: made again they are the same, and what is expected of them fits what is in them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expect.json").read_text("utf-8"))
FILES = sorted(path.name for path in HERE.iterdir() if path.name[:2].isdigit())


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traps")
    runpy.run_path(str(HERE / "make_traps.py"))["main"](folder)
    return folder


def test_every_file_has_its_expectation() -> None:
    assert [entry["file"] for entry in EXPECTED] == FILES


@pytest.mark.parametrize("name", ["expect.json", *FILES])
def test_the_script_gives_the_same_again(name: str, again: Path) -> None:
    if name.endswith(".parquet"):  # the library writes its own version into the file
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(again / name).to_pylist() == parquet.read_table(HERE / name).to_pylist()
    elif name.endswith(".xlsx"):  # so may openpyxl, with another XML library
        from openpyxl import load_workbook

        def cells(path: Path) -> list[object]:
            book = load_workbook(path)
            return [(s.title, str(s.merged_cells), list(s.iter_rows(values_only=True))) for s in book.worksheets]

        assert cells(again / name) == cells(HERE / name)
    else:
        assert (again / name).read_bytes() == (HERE / name).read_bytes()


@pytest.mark.parametrize("entry", EXPECTED, ids=lambda entry: entry["file"])
def test_expectations_add_up(entry: dict[str, object]) -> None:
    expect = entry["expect"]
    assert isinstance(expect, dict)
    assert len(expect["must_contain"]) <= expect["examples"]
    assert expect.get("no_issues", False) == (not expect["issues"])
    few = {"fewer than 10 examples", "fewer than 100 examples"} & set(expect["issues"])
    assert few == ({"fewer than 10 examples"} if expect["examples"] < 10 else
                   {"fewer than 100 examples"} if expect["examples"] < 100 else set())  # fmt: skip
    dropped = {left["row"] for left in expect["dropped"]}
    assert not dropped & {left["row"] for left in expect.get("may_drop", [])}
    assert not dropped & set(expect.get("may_list", []))
