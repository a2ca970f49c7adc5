"""The tests that OpenAI's client comes with, against our server (acceptance 20). None of them is kept here.

What they find otherwise than they want stands in upstream.json, each with its reason: no more, and no less.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from postil.settings import for_child
from tests.api.others import python_with, source_of
from tests.api.seeded import bases, seeded

if TYPE_CHECKING:
    from tests.models import Build

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
TOLD = json.loads((HERE / "upstream.json").read_text("utf-8"))
NEWEST = list(TOLD["counts"])[-1]
EXCEPTIONS = {test for exception in TOLD["exceptions"] for test in exception["tests"]}
NEEDED = ("pytest==9.2.0", "pytest-asyncio==1.5.0", "respx==0.23.1", "rich==15.0.0")


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Path:
    return request.config.cache.mkdir("others")  # type: ignore[union-attr]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", [pytest.param(version, marks=() if version == NEWEST else pytest.mark.full)
                                     for version in TOLD["counts"]])  # fmt: skip
def test_20_upstreams_own_tests(version: str, base: Build, kept: Path, tmp_path: Path) -> None:
    python = python_with(kept, f"openai[aiohttp]=={version}", *NEEDED)
    source = source_of(kept, f"openai=={version}")
    home = bases(tmp_path / "home", base("llama3"))
    (tmp_path / "plugin").mkdir()
    shutil.copy(HERE / "fresh.py", tmp_path / "plugin")
    report = tmp_path / "report.xml"
    with pytest.MonkeyPatch.context() as patch, seeded(tmp_path / "server", home) as server:
        patch.setenv("POSTIL_HOME", str(home))
        command = [python, "-m", "pytest", "-q", "-p", "fresh", "-p", "no:cacheprovider", "-o", "addopts=",
                   f"--junitxml={report}", *(f"tests/api_resources/{file}" for file in TOLD["files"])]  # fmt: skip
        told = {**for_child(), "PYTHONPATH": str(tmp_path / "plugin"), "TEST_API_BASE_URL": f"{server.url}/v1"}
        subprocess.run(command, cwd=source, env=told, capture_output=True, timeout=900, check=False)
    outcomes = _outcomes(report)
    failed = {name for name, how in outcomes if how == "failed"}
    assert failed == EXCEPTIONS & {name for name, _ in outcomes}
    assert Counter(how for _, how in outcomes) == TOLD["counts"][version]


def _outcomes(report: Path) -> list[tuple[str, str]]:
    """(file::function, passed | failed | skipped) of each test."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        path, _, _ = case.attrib["classname"].removeprefix("tests.api_resources.").rpartition(".")
        name = f"{path.replace('.', '/')}.py::{case.attrib['name'].partition('[')[0]}"
        marks = {child.tag for child in case}
        found.append(
            (name, "failed" if marks & {"failure", "error"} else "skipped" if "skipped" in marks else "passed")
        )
    return found
