"""The pages: the same house seen through a browser. They show what is in the store and keep nothing of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from postil.api import House

__all__ = ["attach"]

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#faf8f4"/>'
    '<path d="M6 5v22" stroke="#b3261e" stroke-width="4"/><path d="M13 9h13M13 16h13M13 23h8" stroke="#211d19" '
    'stroke-width="3"/></svg>'
)


def attach(app: FastAPI, house: House) -> str:
    """Add the pages to the application. Returns the path, with its token, under which they are opened."""
    from nicegui import app as pages
    from nicegui import ui
    from starlette.responses import RedirectResponse

    from postil.web import (  # noqa: F401  each adds its pages
        audit,
        compare,
        data,
        evaluations,
        heaps,
        joblist,
        jobs,
        keys,
        models,
        new,
        people,
        plan,
        xray,
    )
    from postil.web.attempts import Attempts
    from postil.web.carry import routes as carried
    from postil.web.door import routes as door
    from postil.web.session import ROOT, Sessions, SignIn
    from postil.web.sockets import bind_sockets

    sessions = Sessions(house.store)
    pages.state.house = house
    bind_sockets()
    app.include_router(door(sessions, Attempts(house.rate_limits), house))
    app.include_router(carried(house))
    app.add_api_route("/", lambda: RedirectResponse(f"{ROOT}/"), include_in_schema=False)
    ui.run_with(app, mount_path=ROOT, title="Postil 批注", favicon=ICON, dark=None, tailwind=False,
                show_welcome_message=False, binding_refresh_interval=None, reconnect_timeout=10.0)  # fmt: skip
    app.add_middleware(SignIn, sessions=sessions, house=house)
    return f"{ROOT}/login?token={sessions.token}"
