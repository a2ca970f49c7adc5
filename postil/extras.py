"""Packages that not everybody needs: which extra brings which, whether one is here, and what to run when it is not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from postil.errors import PostilError
from postil.locales import LANGUAGES, say

# as in pyproject.toml, by the names under which they are imported
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "hubs": ("huggingface_hub", "modelscope"),
    "postgres": ("psycopg",),
    "qlora": ("bitsandbytes",),
    "llama": ("xllamacpp",),
}


def has(module: str) -> bool:
    """Whether a package is installed. It is not loaded for that."""
    return find_spec(module) is not None


def command(module: str) -> str:
    """What installs it: the extra that brings it, or the package itself where it is in none of ours."""
    extra = next((name for name, modules in EXTRAS.items() if module in modules), None)
    return f'pip install "postil[{extra}]"' if extra else f"pip install {module}"


def missing(module: str, use: str, error: type[PostilError]) -> PostilError:
    """`extra_missing`. use: what it is needed for, as in the sentence `extra.<use>`."""
    needed_by = {lang: say(f"extra.{use}", lang) for lang in LANGUAGES}
    return error("extra_missing", what=needed_by, package=module, command=command(module))


def require(module: str, use: str, error: type[PostilError]) -> None:
    """Raise `extra_missing` when a package is not here, without loading it."""
    if not has(module):
        raise missing(module, use, error)


def load(module: str, use: str, error: type[PostilError]) -> ModuleType:
    """An optional package, loaded. Raises `extra_missing`."""
    try:
        return import_module(module)
    except ImportError as fault:
        raise missing(module, use, error) from fault
