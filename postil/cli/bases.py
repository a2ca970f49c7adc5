"""Base models and adapters: listed, fetched, given a name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postil.cli.options import Debug, Json, Lang, app, heard_by, models, models_verb, open_screen
from postil.locales import say
from postil.settings import Settings

if TYPE_CHECKING:
    pass


@models_verb("list", help=say("cli.models.list.help"))
def models_list(as_json: Json = False, lang: Lang = None, debug: Debug = False) -> None:
    from postil import plan as room

    screen = open_screen(as_json)
    here, home = room.machine(), Settings().home
    bases = [(base, room.needed_bytes(base.shape, here) <= here.memory_bytes) for base in room.known(home)]
    screen.bases(bases)
    screen.result({"models": [
        {"name": base.name, "parameters": base.shape.parameters, "licence": base.licence, "sources": dict(base.sources),
         "languages": list(base.languages), "fits": fits, "path": str(base.path) if base.path else None}
        for base, fits in bases
    ]})  # fmt: skip


@models_verb("pull", help=say("cli.models.pull.help"))
def models_pull(
    name: Annotated[str, typer.Argument(metavar="MODEL", help=say("cli.base"))],
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = open_screen(as_json)
    base = flow.fetched(flow.find_base(name), heard_by(screen))
    screen.say("show.pulled", name=base.name, path=base.path)
    screen.result({"name": base.name, "path": str(base.path)})


@models_verb("add", help=say("cli.models.add.help"))
def models_add(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help=say("cli.models.add.directory"))],
    name: Annotated[str | None, typer.Option("--name", help=say("cli.models.add.name"))] = None,
    base_name: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help=say("cli.models.add.base"))
    ] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api, flow

    screen = open_screen(as_json)
    if flow.is_adapter(directory):
        with flow.adopted(directory, base_name) as (adapter, unknown):
            made = api.add_model(adapter, name or directory.resolve().name)
        screen.adopted(made, unknown)
        screen.result({**made, "unknown": unknown})
        return
    base = flow.add_base(directory, name)
    screen.say("show.pulled", name=base.name, path=base.path)
    screen.result({"name": base.name, "path": str(base.path)})


app.add_typer(models, name="models", help=say("cli.models.help"))
