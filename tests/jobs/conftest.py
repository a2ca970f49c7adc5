"""A shop with a tiny base model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.shop import Shop, add_base


@pytest.fixture(scope="session")
def tiny(base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which the tiny base model has a name."""
    home = tmp_path_factory.mktemp("jobs-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTIL_HOME", str(home))
        add_base(base("qwen2"))
        yield home


@pytest.fixture
def shop(tiny: Path, tmp_path: Path, database: str) -> Iterator[Shop]:
    opened = Shop(tmp_path / "store", database)
    yield opened
    opened.store.close()


@pytest.fixture
def sqlite_shop(tiny: Path, tmp_path: Path) -> Iterator[Shop]:
    opened = Shop(tmp_path / "store")
    yield opened
    opened.store.close()
