"""The HTTP door: OpenAI's routes, our own, and what guards them."""

from postil.api.app import create_app
from postil.api.asking import CommandRefused, on_disk
from postil.api.forms import read_form
from postil.api.gate import FILE_BYTES, LANGUAGE_COOKIE, PAGE_UPLOAD
from postil.api.house import House
from postil.api.keyring import add_key, list_keys, revoke_key
from postil.api.refusals import Refused
from postil.api.server import serve
from postil.api.studio import case_of, file_of_corrections, order_again

__all__ = [
    "FILE_BYTES",
    "LANGUAGE_COOKIE",
    "PAGE_UPLOAD",
    "CommandRefused",
    "House",
    "Refused",
    "add_key",
    "case_of",
    "create_app",
    "file_of_corrections",
    "list_keys",
    "on_disk",
    "order_again",
    "read_form",
    "revoke_key",
    "serve",
]  # fmt: skip
