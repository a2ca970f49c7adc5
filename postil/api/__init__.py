"""The HTTP door: OpenAI's routes, our own, and what guards them."""

from postil.api.app import create_app
from postil.api.asking import CommandRefused, on_disk
from postil.api.bodies import StrictRoute, address_of
from postil.api.booking import book
from postil.api.forms import read_form
from postil.api.gate import FILE_BYTES, LANGUAGE_COOKIE, PAGE_UPLOAD
from postil.api.house import Caller, House, holds, may
from postil.api.keyring import add_key, add_model, list_audit, list_keys, revoke_any_key, rotate_any_key
from postil.api.lanes import Lanes, Name, lane, lane_of
from postil.api.rate import Opened as Link
from postil.api.rate import opened
from postil.api.refusals import Refused, refused
from postil.api.scopes import scopes_of_routes
from postil.api.server import serve
from postil.api.standing import answer_while_holds, while_holds
from postil.api.studio import (
    AuditObject,
    BallotBody,
    CheckBody,
    DiffBody,
    FileBody,
    JudgeBody,
    KeyBody,
    KeyObject,
    PlanBody,
    PreviewBody,
    XrayBody,
    audit_object,
    begun_ballot,
    case_of,
    check,
    counted,
    create_key,
    difference,
    differing,
    file_of_corrections,
    judge_defaults,
    judge_order,
    key_objects,
    marked,
    order_again,
    origin_of,
    plan,
    preview,
    revoke_key,
    rotate_key,
    xray,
)  # fmt: skip

__all__ = [
    "FILE_BYTES", "LANGUAGE_COOKIE", "PAGE_UPLOAD", "AuditObject", "BallotBody", "Caller", "CheckBody",
    "CommandRefused", "DiffBody", "FileBody", "House", "JudgeBody", "KeyBody", "KeyObject", "Lanes", "Link", "Name",
    "PlanBody", "PreviewBody", "Refused", "StrictRoute", "XrayBody", "add_key", "add_model", "address_of",
    "answer_while_holds", "audit_object", "begun_ballot", "book", "case_of", "check", "counted", "create_app",
    "create_key", "difference", "differing", "file_of_corrections", "holds", "judge_defaults", "judge_order",
    "key_objects", "lane", "lane_of", "list_audit", "list_keys", "marked", "may", "on_disk", "opened", "order_again",
    "origin_of", "plan", "preview", "read_form", "refused", "revoke_any_key", "revoke_key", "rotate_any_key",
    "rotate_key", "scopes_of_routes", "serve", "while_holds", "xray",
]  # fmt: skip
