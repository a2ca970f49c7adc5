"""Every refusal as OpenAI's error object, in the caller's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from postil.errors import PostilError, RequestError

STATUS = {
    "invalid_api_key": 401,
    "host_not_allowed": 403, "origin_not_allowed": 403, "scope_missing": 403, "base_not_deletable": 403,
    "model_not_live": 403, "ballot_open": 403,
    "unknown_url": 404, "file_not_found": 404, "upload_not_found": 404, "model_not_found": 404, "job_not_found": 404,
    "part_not_found": 404, "permission_not_found": 404, "key_not_found": 404, "bytes_missing": 404,
    "set_not_found": 404, "correction_not_found": 404, "ballot_not_found": 404, "rater_not_found": 404,
    "row_not_found": 404, "line_not_found": 404, "report_missing": 404,
    "dataset_not_found": 404,
    "method_not_allowed": 405, "request_too_slow": 408, "still_running": 409,
    "upload_too_large": 413, "request_too_large": 413,
    "rate_limit_exceeded": 429, "too_busy": 429, "too_many_open": 429, "insufficient_quota": 429, "quota_exceeded": 429,
    "tokens_booked": 429, "key_beyond": 403, "key_beyond_limits": 403, "key_ended": 401,
    "internal_error": 500, "unexpected": 500, "bytes_changed": 500, "answer_not_finite": 500, "adapter_fault": 500,
    "answer_failed": 500,
    "storage_full": 503, "storage_broken": 503, "database_busy": 503, "database_unreachable": 503,
    "engine_full": 503, "engine_lost": 503, "engine_closed": 503, "engine_start_failed": 503, "took_too_long": 503,
    "waited_too_long": 503,
    "vllm_base": 503, "vllm_missing": 503,
}  # fmt: skip
CODES = {  # where OpenAI has a name of its own
    "context_too_long": "context_length_exceeded", "engine_full": "engine_overloaded", "engine_lost": "worker_lost",
    "engine_closed": "starting_up", "quota_exceeded": "insufficient_quota", "upload_too_large": "file_too_large",
    "upload_not_found": "not_found", "job_not_found": "not_found", "part_not_found": "not_found",
    "permission_not_found": "not_found", "key_not_found": "not_found", "set_not_found": "not_found",
    "correction_not_found": "not_found", "ballot_not_found": "not_found", "line_not_found": "not_found",
    "dataset_not_found": "not_found",
}  # fmt: skip
PARAMS = {"invalid_cursor": "after", "context_too_long": "messages", "template_refuses": "messages",
          "template_cannot_say": "messages"}  # fmt: skip
RETRY_SECONDS = {"engine_full": "2", "engine_lost": "1", "engine_closed": "5", "database_busy": "1",
                 "still_running": "1", "rate_limit_exceeded": "5", "tokens_booked": "5", "too_busy": "5",
                 "too_many_open": "30", "waited_too_long": "60"}  # fmt: skip
NEVER_AGAIN = (  # retrying would not help
    "storage_full",
    "quota_exceeded",
    "insufficient_quota",
    "took_too_long",
    "answer_not_finite",
    "adapter_fault",
)


class Told(BaseModel):
    """What is wrong, what to do, and the field that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorObject(BaseModel):
    """The body of every answer that is not 2xx."""

    error: Told


class Refused(Exception):
    """A PostilError with what HTTP adds to it: another status than its own, or the parameter it is about."""

    def __init__(self, error: PostilError, *, param: str | None = None, status: int | None = None) -> None:
        self.error = error
        named = error.values.get("parameter")
        self.param = param or PARAMS.get(error.code) or (str(named) if named else None)
        self.status = status or STATUS.get(error.code, 400)
        super().__init__(error.code)

    @property
    def headers(self) -> dict[str, str]:
        """What tells clients whether, and when, to try again."""
        code = self.error.code
        again = {"x-should-retry": "false"} if code in NEVER_AGAIN else {}
        return again | ({"retry-after": RETRY_SECONDS[code]} if code in RETRY_SECONDS else {})

    def told(self) -> ErrorObject:
        """The error object, in the language that is spoken now."""
        code = CODES.get(self.error.code, self.error.code)
        return ErrorObject(error=Told(message=str(self.error), type=_type(self.status), param=self.param, code=code))

    def response(self) -> JSONResponse:
        return JSONResponse(self.told().model_dump(), self.status, self.headers)


def refused(code: str, *, param: str | None = None, status: int | None = None, **values: Any) -> Refused:
    """A refusal of the request itself. `param` also fills the sentence."""
    told: dict[str, Any] = {"param": param, **values} if param else values
    return Refused(RequestError(code, **told), param=param, status=status)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What stands in the OpenAPI document for refusals that any route may give, and `statuses` of its own."""
    common: Mapping[int, str] = {
        400: "The request is wrong", 401: "No valid key", 403: "Not allowed", 404: "Not found",
        408: "The request came too slowly", 409: "The same request is still being carried out", 413: "Too large",
        429: "Too much", 500: "A fault of the server", 503: "Not possible now",
    }  # fmt: skip
    wanted = sorted({400, 401, 403, 404, 408, 413, 429, 500, 503, *statuses})
    return {status: {"model": ErrorObject, "description": common[status]} for status in wanted}


def _type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return {403: "permission_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
