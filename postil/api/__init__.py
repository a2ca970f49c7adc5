"""The HTTP door: OpenAI's routes, our own, and what guards them."""

from postil.api.app import create_app
from postil.api.asking import CommandRefused, on_disk
from postil.api.forms import read_form
from postil.api.gate import FILE_BYTES, LANGUAGE_COOKIE, PAGE_UPLOAD
from postil.api.house import House
from postil.api.keyring import add_key, add_model, list_keys, revoke_key
from postil.api.refusals import Refused
from postil.api.server import serve
from postil.api.studio import (
    CheckBody,
    DiffBody,
    PlanBody,
    PreviewBody,
    XrayBody,
    case_of,
    check,
    difference,
    file_of_corrections,
    marked,
    order_again,
    plan,
    preview,
    xray,
)  # fmt: skip

__all__ = [
    "FILE_BYTES", "LANGUAGE_COOKIE", "PAGE_UPLOAD", "CheckBody", "CommandRefused", "DiffBody", "House", "PlanBody",
    "PreviewBody", "Refused", "XrayBody", "add_key", "add_model", "case_of", "check", "create_app", "difference",
    "file_of_corrections", "list_keys", "marked", "on_disk", "order_again", "plan", "preview", "read_form",
    "revoke_key", "serve", "xray",
]  # fmt: skip
