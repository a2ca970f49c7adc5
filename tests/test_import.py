"""A door opens without loading what stands behind it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from postil.settings import for_child

HEAVY = {"torch", "transformers", "peft", "accelerate", "tokenizers"}
LIBRARIES = {"scipy", "numpy", "pyarrow", "openpyxl", "python_calamine", "charset_normalizer", "sacrebleu", "jinja2"}


def loaded(*arguments: str, code: int = 0) -> set[str]:
    """The top-level modules that a command line leaves in memory when it ends with `code`."""
    program = (
        "import json, sys; from postil.__main__ import main; code = main(sys.argv[1:]);"
        "sys.stderr.write(json.dumps([code, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, encoding="utf-8",
                          env=for_child(), timeout=120)  # fmt: skip
    ended, names = json.loads(done.stderr.splitlines()[-1])
    assert ended == code, done.stdout + done.stderr
    return set(names)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_loads_no_library(arguments: list[str]) -> None:
    assert not loaded(*arguments) & (HEAVY | LIBRARIES)


def test_the_first_help_loads_neither_tables_nor_schemas() -> None:
    assert not loaded("--help") & {"rich", "pydantic", "psutil"}


@pytest.mark.parametrize("arguments", [["models", "list"], ["plan", "--fields"], ["doctor"]])
def test_looking_around_loads_no_model_library(arguments: list[str]) -> None:
    assert not loaded(*arguments) & HEAVY


def test_check_loads_no_model_library(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("question,answer\n" + "".join(f"What is {i}?,It is {i * 7}.\n" for i in range(12)), "utf-8")
    assert not loaded("check", str(file)) & HEAVY


def test_a_training_that_is_refused_loads_no_model_library(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("not to be touched", "utf-8")
    assert not loaded("train", "rows.csv", "--output", str(tmp_path), code=1) & HEAVY


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, postil; print(sorted(name for name in sys.modules if name.startswith('postil')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['postil']"
