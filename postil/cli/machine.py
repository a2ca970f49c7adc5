"""This installation, or a run that ails."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postil.cli.options import Debug, Json, Lang, open_screen, verb
from postil.locales import say

if TYPE_CHECKING:
    from postil.show import Screen


@verb(help=say("cli.doctor.help"))
def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help=say("cli.doctor.run"), show_default=False)] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil.doctor import examine

    screen = open_screen(as_json)
    if run is not None:
        _doctor_of(screen, run)
        return
    found = examine()
    screen.doctor(found)
    screen.result(found)
    if found["problems"]:
        raise typer.Exit(1)


def _doctor_of(screen: "Screen", directory: Path) -> None:
    """Look at a run instead of at the machine."""
    from postil import flow

    found = flow.diagnose(directory)
    screen.findings(found)
    screen.result({"findings": [one.as_json() for one in found]})
    if any(one.severity == "error" for one in found):
        raise typer.Exit(1)
