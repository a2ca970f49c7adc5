"""One server for each file of tests; a project of its own for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from tests.api.served import BASE, Served, served

if TYPE_CHECKING:
    from tests.models import Build


@pytest.fixture(scope="session")
def home(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one tiny base model."""
    made = tmp_path_factory.mktemp("api-home")
    shutil.copytree(base("llama3"), made / "models" / BASE)
    return made


@pytest.fixture(scope="module")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch, served(tmp_path_factory.mktemp("server"), home) as made:
        patch.setenv("POSTIL_HOME", str(home))
        yield made


@pytest.fixture(autouse=True)
def _as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test makes the engine say ends with it."""
    yield
    if "server" in request.fixturenames:
        found: Served = request.getfixturevalue("server")
        found.says, found.gate = lambda asked: "Hello there", lambda asked: None


@pytest.fixture
def key(server: Served) -> str:
    """Of a new project, with every scope."""
    return server.key()


@pytest.fixture
def http(server: Served, key: str) -> Iterator[httpx.Client]:
    with server.http(key) as client:
        yield client


@pytest.fixture
def client(server: Served, key: str) -> Iterator[openai.OpenAI]:
    with server.openai(key) as made:
        yield made
