"""What all tests share: a quiet machine, a home of their own, tiny base models, and no silent skips."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil import settings

settings.quiet()  # before torch is loaded
pytest.register_assert_rewrite("tests.jobs.invariants", "tests.jobs.shop")  # what they assert is told, too

if TYPE_CHECKING:
    from tests.models import Build


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never touch the home of the person who runs them, unless they are told where the base models lie."""
    with pytest.MonkeyPatch.context() as patch:
        if settings.Settings().home == Path("~/.postil").expanduser():
            patch.setenv("POSTIL_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """A test that spoke another language does not leave it to the next one."""
    from postil import locales

    variables = (locales._current, locales._served)
    before = [variable.get() for variable in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        variable.set(value)  # type: ignore[arg-type]


@pytest.fixture(params=["zh", "en"])
def lang(request: pytest.FixtureRequest) -> str:
    """Each language that the program speaks, while the test runs."""
    from postil.locales import speak

    speak(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """`base(family)` is the directory with the tiny model of that family; it is made once."""
    from tests.models import build

    return cache(lambda family: build(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of our own."""
    from tests import postgres as own

    if own.binaries() is None:
        pytest.skip("PostgreSQL (initdb and postgres) is not installed")
    with own.server() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database, "" for SQLite in the store's own directory: each test runs on both."""
    if request.param == "sqlite":
        yield ""
        return
    from tests import postgres as own

    with own.database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Where everything must run (POSTIL_REQUIRE_ALL=1), a skipped test is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and settings.Settings().require_all:
        report.outcome = "failed"
        report.longrepr = f"skipped although POSTIL_REQUIRE_ALL=1: {report.longrepr[-1]}"
    return report  # type: ignore[return-value]


class _Failures:
    """Tells of a failure at once: a run that is cut short tells of none at its end."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        screen: Any = self._plugins.getplugin("terminalreporter")
        if report.failed and screen is not None:  # the processes that xdist starts have none
            last = report.longreprtext.strip().splitlines()[-25:]
            screen.write_line("\n".join(["", f"failed in {report.when}: {report.nodeid}", *last]))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Failures(config))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was skipped, and why: never silent."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped here")
    for report in skipped:
        terminalreporter.line(f"{report.nodeid}: {report.longrepr[-1] if report.longrepr else ''}")
