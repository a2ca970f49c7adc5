"""One studio with a tiny base model, and one browser, for all tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.studio import CHROMIUM, Studio, Visitor, chromium, running

if TYPE_CHECKING:
    from tests.models import Build

BASE = "tiny-llama3"


@pytest.fixture(scope="session")
def home(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one tiny base model."""
    made = tmp_path_factory.mktemp("web-home")
    shutil.copytree(base("llama3"), made / "models" / BASE)
    return made


@pytest.fixture(scope="module")
def studio(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running(home, tmp_path_factory.mktemp("studio")) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with chromium() as made:
        yield made


@pytest.fixture(params=["en", "zh"])
def visitor(request: pytest.FixtureRequest, studio: Studio, browser: Any) -> Iterator[Visitor]:
    """Somebody who reads English, then somebody who reads Chinese."""
    made = Visitor(browser, studio, lang=request.param)
    yield made
    made.close()
    assert not made.faults
    assert not made.elsewhere
