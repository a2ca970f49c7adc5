"""The HTTP door: OpenAI's routes, our own, and what guards them."""

from postil.api.app import create_app
from postil.api.asking import CommandRefused, on_disk
from postil.api.forms import read_form
from postil.api.gate import FILE_BYTES, LANGUAGE_COOKIE, PAGE_UPLOAD
from postil.api.house import Caller, House, holds, may
from postil.api.keyring import add_key, add_model, list_keys, revoke_key
from postil.api.refusals import Refused, refused
from postil.api.scopes import scopes_of_routes
from postil.api.server import serve
from postil.api.studio import (
    BallotBody,
    CheckBody,
    DiffBody,
    FileBody,
    JudgeBody,
    PlanBody,
    PreviewBody,
    XrayBody,
    begun_ballot,
    case_of,
    check,
    counted,
    difference,
    differing,
    file_of_corrections,
    judge_defaults,
    judge_order,
    marked,
    order_again,
    plan,
    preview,
    xray,
)  # fmt: skip

__all__ = [
    "FILE_BYTES", "LANGUAGE_COOKIE", "PAGE_UPLOAD", "BallotBody", "Caller", "CheckBody", "CommandRefused", "DiffBody",
    "FileBody", "House", "JudgeBody", "PlanBody", "PreviewBody", "Refused", "XrayBody", "add_key", "add_model",
    "begun_ballot", "case_of", "check", "counted", "create_app", "difference", "differing", "file_of_corrections",
    "holds", "judge_defaults", "judge_order", "list_keys", "marked", "may", "on_disk", "order_again", "plan", "preview",
    "read_form", "refused", "revoke_key", "scopes_of_routes", "serve", "xray",
]  # fmt: skip
