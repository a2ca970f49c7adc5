"""One base model and many adapters answer at once. What stands here loads no torch: the model lives in a process of
its own."""

from postil.serve.client import open_engine, opener
from postil.serve.engine import Engine, Finish, Health, Limits, Piece, Reply, Request, Running, Token
from postil.serve.memory import InMemory

__all__ = [
    "Engine",
    "Finish",
    "Health",
    "InMemory",
    "Limits",
    "Piece",
    "Reply",
    "Request",
    "Running",
    "Token",
    "open_engine",
    "opener",
]
