"""An adapter becomes files for others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from postil.cli.options import AdapterDir, Debug, Json, Lang, _target, open_screen, verb
from postil.locales import say

if TYPE_CHECKING:
    from postil.records import Target


@verb(help=say("cli.export.help"))
def export(
    adapter: AdapterDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help=say("cli.output"))],
    to: Annotated[
        str, typer.Option("--to", metavar="TARGET", callback=_target, help=say("cli.export.to"))
    ] = "merged",
    number_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help=say("cli.export.type"))] = None,
    name: Annotated[str | None, typer.Option("--name", help=say("cli.export.name"))] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=say("cli.export.data"))] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help=say("cli.export.no_check"))] = False,
    push: Annotated[str | None, typer.Option("--push", metavar="HUB:ORG/NAME", help=say("cli.export.push"))] = None,
    public: Annotated[bool, typer.Option("--public", help=say("cli.export.public"))] = False,
    force: Annotated[bool, typer.Option("--force", help=say("cli.export.force"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = open_screen(as_json)
    how: dict[str, Any] = {"type": number_type, "name": name, "data": data, "check": not no_check, "force": force,
                           "push": push, "public": public}  # fmt: skip
    made = flow.export(adapter, cast("Target", to), output, emit=screen.emit, **how)
    screen.close()
    screen.exported(made)
    screen.result(made)
    if made["parity"]["outcome"] == "fail":
        raise typer.Exit(1)


@verb(help=say("cli.parity.help"))
def parity(
    adapter: AdapterDir,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=say("cli.export.data"))] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = open_screen(as_json)
    found = flow.parity(adapter, data)
    screen.parity(found)
    screen.result(found)
    if found["outcome"] == "fail":
        raise typer.Exit(1)
