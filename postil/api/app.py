"""The HTTP application: the routes behind their gate, and every failure as an error object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from postil import __version__
from postil.api.asking import CommandRefused
from postil.api.bodies import explained
from postil.api.gate import Gate
from postil.api.house import House
from postil.api.openai import ROUTERS
from postil.api.rate import router as rate
from postil.api.ready import Check, EnginesWork, Readiness, database_answers, disk_has_room
from postil.api.ready import router as probes
from postil.api.refusals import ErrorObject, Refused, Told, refused
from postil.api.studio import router as studio
from postil.errors import PostilError

TEXT_BYTES = 2000  # of a message of another process


class Healthy(BaseModel):
    """The server answers."""

    status: str = "ok"
    version: str = __version__


def create_app(house: House, hosts: Callable[[], Iterable[str]], *, begin: Callable[[], None] = lambda: None,
               end: Callable[[], None] = lambda: None, pages: Callable[[FastAPI], None] = lambda app: None,
               watches: Callable[[], bool] = lambda: True) -> FastAPI:  # fmt: skip
    """`hosts`: what may stand in Host, asked at each request; `begin` and `end` are called as the server comes up and
    goes down; `pages` adds what a browser shows, behind the same gate; `watches`: whether jobs are looked after."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = house.lanes.threads
        begin()
        yield
        house.close()
        end()

    app = FastAPI(title="Postil", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
                  redirect_slashes=False, swagger_ui_oauth2_redirect_url=None)  # fmt: skip
    app.state.house = house
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    for router in (*ROUTERS, studio):
        app.include_router(router, prefix="/v1")
    app.include_router(rate)  # raters have no key, but a link

    @app.get("/health", tags=["Health"])
    async def health() -> Healthy:
        """Whether the server answers; needs no key."""
        return Healthy()

    parts: dict[str, Check] = {
        "database": lambda: database_answers(house.store),
        "disk": lambda: disk_has_room(house.store),
        "watch": watches,
        "engine": EnginesWork(house.engines),
    }
    app.include_router(probes(Readiness(parts)))
    pages(app)
    app.add_middleware(Gate, keys=house.store.keys, hosts=hosts, rate_limits=house.rate_limits, lanes=house.lanes,
                       standing=house.standing)  # fmt: skip  # the last one added comes first
    app.openapi = lambda: _documented(app)  # type: ignore[method-assign]  # FastAPI's own way to change it
    return app


# ── failures ──


async def _refused(request: Request, error: Any) -> JSONResponse:
    response: JSONResponse = (error if isinstance(error, Refused) else Refused(error)).response()
    return response


async def _invalid(request: Request, error: Any) -> JSONResponse:
    return explained(error.errors()).response()


async def _http(request: Request, error: Any) -> JSONResponse:
    """What the framework refuses itself. A body that our own reader refused comes wrapped."""
    cause = error.__cause__
    if isinstance(cause, Refused | PostilError):
        return await _refused(request, cause)
    if error.status_code == 404:
        return refused("unknown_url", method=request.method[:20], path=_shown(request)).response()
    if error.status_code == 405:
        response = refused("method_not_allowed", method=request.method[:20]).response()
        response.headers.update(error.headers or {})
        return response
    return refused("invalid_json", detail=str(error.detail)[:100]).response()


async def _other_process(request: Request, error: Any) -> JSONResponse:
    message = error.message[:TEXT_BYTES]
    told = ErrorObject(error=Told(message=message, type="invalid_request_error", param=None, code=error.code))
    return JSONResponse(told.model_dump(), 400)


async def _unexpected(request: Request, error: Any) -> JSONResponse:
    """A fault of ours: its number for the client, its trace for the log."""
    number = request.scope.get("state", {}).get("request_id", "-")
    response = refused("internal_error", request=number).response()
    response.headers["x-request-id"] = number
    return response


HANDLERS: dict[type[Exception], Callable[[Request, Any], Any]] = {
    PostilError: _refused, Refused: _refused, RequestValidationError: _invalid, HTTPException: _http,
    CommandRefused: _other_process, Exception: _unexpected,
}  # fmt: skip


def _shown(request: Request) -> str:
    return request.url.path[:100].encode("ascii", "replace").decode()


# ── the document ──


def _documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with what every route has: the key, and our own shape of errors instead of 422."""
    if app.openapi_schema is None:
        made: dict[str, Any] = FastAPI.openapi(app)
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, item in made["paths"].items():
            for operation in item.values():
                operation["responses"].pop("422", None)
                operation["security"] = [{"key": []}] if path.startswith("/v1") else []
        app.openapi_schema = made
    return app.openapi_schema
