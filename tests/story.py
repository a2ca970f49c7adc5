"""A sheet that a shop might have, and the way through Postil with a tiny model: what the tests of the doors share."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil.__main__ import main
from postil.records import Probe

if TYPE_CHECKING:
    from tests.models import Build

PRODUCTS = ("连衣裙", "dress", "保温杯", "tea cup", "手机壳", "雪纺长裙")
HEADER = "标题,产品词"
# what makes a run on a tiny model short
SHORT = ("learning_rate_probe=false", "n_epochs=2", "max_new_tokens=8", "threads=1", "r=4", "learning_rate=3e-3")
SYSTEM, INSTRUCTION = "你是店员。", "只回答产品词："
PROBE = Probe("cpu", "float32", 1, 1e10, step_seconds=0.05, step_tokens=400, generate_seconds=0.002, peak_bytes=10**8,
              reason={"float32": 10.0, "bfloat16": 1.0, "tried": "1"})  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A finished run on a tiny model: look, but do not touch."""

    directory: Path
    base: Path
    sheet: Path
    result: dict[str, Any]


@pytest.fixture(scope="session")
def measured() -> Iterator[None]:
    """The machine is not measured anew for each plan: that is tested where the probe is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postil.model.probe.begun", lambda: contextlib.nullcontext(lambda *given: PROBE))
        yield


@pytest.fixture(scope="session")
def trained(base: Build, measured: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """60 rows learned by a tiny Qwen2, by the command line."""
    home = tmp_path_factory.mktemp("trained")
    file, directory = sheet(home / "标题.csv", 60), home / "adapter"
    result = told(["train", file, "--base", base("qwen2"), "-o", directory, "--system", SYSTEM,
                   "--instruction", INSTRUCTION, *settings()])  # fmt: skip
    return Trained(directory, base("qwen2"), file, result)


def sheet(path: Path, rows: int = 40, *, start: int = 0) -> Path:
    """A CSV of titles and what is sold."""
    lines = [f"{i} 新款 {'夏季 ' * (i % 4)}{PRODUCTS[i % 6]} 女,{PRODUCTS[i % 6]}" for i in range(start, start + rows)]
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def settings(*more: str) -> list[str]:
    """--set options of a short run."""
    return [word for pair in (*SHORT, *more) for word in ("--set", pair)]


def said(arguments: Sequence[Any]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def told(arguments: Sequence[Any]) -> dict[str, Any]:
    """The JSON object of a command that must end well."""
    code, out, err = said([*arguments, "--json"])
    assert code == 0, out + err
    return dict(json.loads(out.splitlines()[-1]))


def refused(arguments: Sequence[Any]) -> str:
    """The code of the error that a command must end with: in words on the screen, and as JSON for scripts."""
    code, out, err = said([*arguments, "--lang", "en"])
    assert code == 1 and "Traceback" not in out + err, out + err
    shown = err.strip().splitlines()[-1]
    code, out, err = said([*arguments, "--json"])
    assert code == 1, out + err
    error = json.loads(out.splitlines()[-1])["error"]
    assert error["cause"] and error["remedy"] and shown == f"({error['code']})"
    return str(error["code"])
