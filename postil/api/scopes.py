"""What the routes ask of a key, read from the routes themselves, so that no other list can say otherwise."""

from __future__ import annotations

from functools import cache

from fastapi.routing import APIRoute

from postil.api.house import Needs
from postil.api.openai import ROUTERS
from postil.api.rate import router as rate
from postil.api.studio import ROUTERS as STUDIO


@cache
def scopes_of_routes() -> dict[str, tuple[str, ...]]:
    """Each route, as "POST /v1/files", and the scopes of which it wants one; none where no key is needed."""
    placed = [*(("/v1", router) for router in ROUTERS), *(("/v1/postil", router) for router in STUDIO), ("", rate)]
    return {
        f"{method} {prefix}{route.path}": _asked(route)
        for prefix, router in placed
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def _asked(route: APIRoute) -> tuple[str, ...]:
    return next((needs.scopes for needs in route.dependencies if isinstance(needs, Needs)), ())
