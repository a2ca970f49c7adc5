"""The HTTP door: OpenAI's routes, our own, and what guards them."""

from postil.api.app import create_app
from postil.api.house import House
from postil.api.keyring import add_key, list_keys, revoke_key
from postil.api.server import serve

__all__ = ["House", "add_key", "create_app", "list_keys", "revoke_key", "serve"]
