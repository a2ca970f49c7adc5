"""A shop with a tiny base model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs import invariants
from tests.jobs.shop import Shop, add_base
from tests.jobs.stage import Forked, Stage


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


@pytest.fixture(scope="session")
def forked(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    executor = Forked(tmp_path_factory.mktemp("nowhere"))
    yield executor
    executor.close()


@pytest.fixture(scope="session")
def reference(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of the adapter when nothing happens."""
    stage = Stage(tmp_path_factory.mktemp("reference"), forked)
    job = stage.shop.order()
    stage.run(job)
    invariants.check(stage.shop)
    return str(stage.shop.get(job).adapter_sha256)


@pytest.fixture
def stage(forked: Forked, tmp_path: Path) -> Iterator[Stage]:
    """Its executor knows nothing of other tests."""
    made = Stage(tmp_path / "store", forked)
    yield made
    for run_id in forked.reattach():
        forked.stop(run_id, 0.0)
    made.shop.store.close()
