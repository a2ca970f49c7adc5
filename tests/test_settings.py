"""The environment is read in one place, each variable is listed, and nonsense falls back to the default."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

import postil
from postil import settings
from postil.settings import Ranks, Settings, for_child, for_vllm, for_worker, online, quiet

HOUSE = Path(settings.__file__).parent


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "LANG", "HUB", "PRICE_PER_KWH", "CURRENCY", "REQUIRE_ALL"):
        monkeypatch.delenv(f"POSTIL_{name}", raising=False)
    told = Settings()
    assert told.home == Path("~/.postil").expanduser()
    assert (told.language, told.hub, told.currency, told.require_all) == ("", "", "CNY", False)
    assert told.price_per_kwh == 0.6


def test_what_is_set_is_read_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path))
    monkeypatch.setenv("POSTIL_WATTS", "300")
    monkeypatch.setenv("POSTIL_CURRENCY", "USD")
    assert (Settings().home, Settings().watts, Settings().currency) == (tmp_path, 300.0, "USD")


@pytest.mark.parametrize("nonsense", ["much", "", "1,5"])
def test_a_number_that_is_none_falls_back(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    monkeypatch.setenv("POSTIL_PRICE_PER_KWH", nonsense)
    assert Settings().price_per_kwh == 0.6


def test_every_setting_is_described_under_its_variable() -> None:
    described = dict(re.findall(r"^    (\w+) +POSTIL_(\w+)", Settings.__doc__ or "", re.M))
    assert set(described) == {field.name for field in fields(Settings)}
    assert {name: f"POSTIL_{variable}" for name, variable in described.items()} == {
        field.name: field.metadata["variable"] for field in fields(Settings)
    }
    assert set(Settings().as_json()) == {f"POSTIL_{variable}" for variable in described.values()}


def test_ranks_are_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Ranks() == Ranks(rank=0, local_rank=0, world=1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert (Ranks().rank, Ranks().world) == (3, 8)


def test_quiet_keeps_what_a_person_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    quiet()
    told = for_child()
    assert told["OMP_WAIT_POLICY"] == "active"
    assert told["HF_HUB_OFFLINE"] == told["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert told["PYTHONUTF8"] == "1"


def test_attack_24_only_a_download_may_go_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    quiet()
    told = online()
    assert "HF_HUB_OFFLINE" not in told and "TRANSFORMERS_OFFLINE" not in told
    assert told["HF_HUB_DISABLE_TELEMETRY"] == told["DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize("environment", [for_child, for_worker, online, lambda: for_vllm("key")])
def test_children_import_nothing_from_where_we_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: Callable[[], dict[str, str]]
) -> None:
    """A clone of ours may lie there, or a random.py of the user's own, which would be executed."""
    (tmp_path / "postil").mkdir()
    (tmp_path / "random.py").write_text("raise SystemExit('taken from here')")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-m", "postil", "--version"], env=environment(), capture_output=True,
                          text=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0 and done.stdout.strip().endswith(postil.__version__), done.stderr


def test_every_child_is_given_its_environment() -> None:
    """One that has ours as it is would import from where we stand. One is no Python of ours."""
    without = set()
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            started = node.func.attr in ("run", "Popen") and getattr(node.func.value, "id", "") == "subprocess"
            if started and not {"env", "cwd"} & {keyword.arg for keyword in node.keywords}:
                without.add(path.relative_to(HOUSE).as_posix())
    assert without == {"serve/keeper.py"}


def test_nobody_else_reads_the_environment() -> None:
    readers = set()
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"):
                readers.add(str(path.relative_to(HOUSE)))
    assert readers == {"settings.py"}
