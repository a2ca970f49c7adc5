"""The HTTP door: OpenAI's routes, our own, and what guards them."""

from postil.api.app import create_app
from postil.api.asking import CommandRefused, on_disk
from postil.api.forms import read_form
from postil.api.gate import FILE_BYTES, LANGUAGE_COOKIE, PAGE_UPLOAD
from postil.api.house import House, holds
from postil.api.keyring import add_key, add_model, list_keys, revoke_key
from postil.api.refusals import Refused
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
    origin_of,
    plan,
    preview,
    xray,
)  # fmt: skip

__all__ = [
    "FILE_BYTES", "LANGUAGE_COOKIE", "PAGE_UPLOAD", "BallotBody", "CheckBody", "CommandRefused", "DiffBody", "FileBody",
    "House", "JudgeBody", "PlanBody", "PreviewBody", "Refused", "XrayBody", "add_key", "add_model", "begun_ballot",
    "case_of", "check", "counted", "create_app", "difference", "differing", "file_of_corrections", "holds",
    "judge_defaults", "judge_order", "list_keys", "marked", "on_disk", "order_again", "origin_of", "plan", "preview",
    "read_form", "revoke_key", "serve", "xray",
]  # fmt: skip
