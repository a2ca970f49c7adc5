"""The server, the pages and the keys."""

from datetime import datetime
from typing import Annotated, Any

import typer

from postil.cli.options import Debug, Json, Lang, app, keys, keys_verb, open_screen, verb
from postil.locales import say


@verb(help=say("cli.serve.help"))
def serve(
    host: Annotated[str, typer.Option("--host", help=say("cli.serve.host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=say("cli.serve.port"))] = 8000,
    public: Annotated[bool, typer.Option("--public", help=say("cli.serve.public"))] = False,
    lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = open_screen(False)
    api.serve(host, port, lambda key, values: screen.say(key, **values), public=public)


@verb(help=say("cli.studio.help"))
def studio(
    host: Annotated[str, typer.Option("--host", help=say("cli.serve.host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=say("cli.serve.port"))] = 8000,
    public: Annotated[bool, typer.Option("--public", help=say("cli.serve.public"))] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help=say("cli.studio.no_browser"))] = False,
    lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    import webbrowser

    from postil import api, web

    screen = open_screen(False)

    def tell(key: str, values: dict[str, Any]) -> None:
        screen.unbroken(say(key, **values))
        if key == "api.pages" and not no_browser:
            webbrowser.open(values["url"])

    api.serve(host, port, tell, public=public, pages=web.attach)


@keys_verb("list", help=say("cli.keys.list.help"))
def keys_list(as_json: Json = False, lang: Lang = None, debug: Debug = False) -> None:
    from postil import api

    screen = open_screen(as_json)
    found = api.list_keys()
    for key in found:
        screen.line("  ".join([key["id"], key["project"], ",".join(key["scopes"]), key["state"], key["name"]]))
    screen.result({"keys": found})


@keys_verb("add", help=say("cli.keys.add.help"))
def keys_add(
    name: Annotated[str, typer.Option("--name", help=say("cli.keys.name"))] = "-",
    project: Annotated[str, typer.Option("--project", help=say("cli.keys.project"))] = "proj_local",
    scopes: Annotated[list[str] | None, typer.Option("--scope", help=say("cli.keys.scopes"))] = None,
    rate: Annotated[int, typer.Option("--requests-per-minute", min=0, help=say("cli.keys.rate"))] = 0,
    tokens: Annotated[int, typer.Option("--tokens-per-day", min=0, help=say("cli.keys.tokens"))] = 0,
    quota: Annotated[int, typer.Option("--quota-bytes", min=0, help=say("cli.keys.quota"))] = 0,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = open_screen(as_json)
    made = api.add_key(project, name, scopes or ["read", "train", "serve"], rate or None, tokens or None, quota or None)
    screen.unbroken(say("api.first_key", secret=made["secret"]))
    screen.result(made)


@keys_verb("rotate", help=say("cli.keys.rotate.help"))
def keys_rotate(
    key: Annotated[str, typer.Argument(metavar="KEY", help=say("cli.keys.id"))],
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = open_screen(as_json)
    rotated = api.rotate_any_key(key)
    screen.unbroken(say("api.first_key", secret=rotated["secret"]))
    screen.result(rotated)


@keys_verb("revoke", help=say("cli.keys.revoke.help"))
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help=say("cli.keys.id"))],
    with_made: Annotated[bool, typer.Option("--with-made", help=say("cli.keys.with_made"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = open_screen(as_json)
    told = api.revoke_any_key(key, with_made=with_made)
    screen.line("  ".join([told["id"], told["state"]]))
    screen.result(told)


@verb(help=say("cli.audit.help"))
def audit(
    project: Annotated[str | None, typer.Option("--project", help=say("cli.audit.project"))] = None,
    act: Annotated[str | None, typer.Option("--act", help=say("cli.audit.act"))] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help=say("cli.audit.limit"))] = 50,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = open_screen(as_json)
    lines = api.list_audit(project, act, limit)
    for line in lines:
        at = datetime.fromtimestamp(line["last_at"]).astimezone().isoformat(" ", "seconds")
        who = f"{line['key_name']} ({line['key_id']})"
        times = f"× {line['times']}" if line["times"] > 1 else ""
        parts = (at, line["project"], who, line["words"], times, line["target"], line["reason"], line["address"])
        screen.line("  ".join(part for part in parts if part))
    screen.result({"lines": lines})


app.add_typer(keys, name="keys", help=say("cli.keys.help"))
