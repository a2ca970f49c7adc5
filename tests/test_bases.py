"""A base model is the very one that an adapter was made on; and nothing is fetched unless it was asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from postil import bases, settings
from postil.errors import ModelError
from postil.records import Adapter, Plan
from tests.models import Build


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_attack_24_a_base_that_was_tampered_with_is_refused(
    base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """One byte, and the time of the file as it was."""
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    made = tmp_path / "base"
    shutil.copytree(base("llama2"), made)
    honest = Adapter(tmp_path, "tiny", made, bases.fingerprint(bases.find_base(str(made))), Plan())
    assert bases.on_its_base(honest) is honest
    was = (made / file).stat()
    content = bytearray((made / file).read_bytes())
    content[-3] ^= 1
    (made / file).write_bytes(content)
    os.utime(made / file, ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(ModelError) as refused:
        bases.on_its_base(honest)
    assert refused.value.code == "base_changed"


def test_attack_24_the_hub_is_out_of_reach_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """For our own processes; a worker's environment says so whatever the person's own says."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert settings.for_child()["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert settings.for_worker()["HF_HUB_OFFLINE"] == "1"


def test_attack_24_the_tested_set_names_one_version_of_each_package() -> None:
    lines = [
        line.split("#")[0].strip() for line in (Path(__file__).parents[1] / "constraints.txt").read_text().splitlines()
    ]
    wanted = [line for line in lines if line]
    assert len(wanted) > 20 and all("==" in line for line in wanted)


def test_attack_24_the_bill_of_materials_names_all_that_is_needed() -> None:
    root = Path(__file__).parents[1]
    told = json.loads((root / "docs" / "sbom.json").read_text("utf-8"))
    named = {component["name"].lower().replace("_", "-"): component for component in told["components"]}
    wanted = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in wanted}
    assert len(names) > 20 and names <= set(named)
    assert all(component["licenses"][0]["license"]["name"] != "unknown" for component in named.values())
