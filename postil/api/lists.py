"""Pages of lists: what a client asks for, and the shape in which it gets them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from postil.errors import StoreError

T = TypeVar("T", bound=BaseModel)
MOST = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}\Z")
_LIMIT = r"^([1-9][0-9]{0,17})?$"


class ListOf(BaseModel, Generic[T]):
    """Some objects, in order, and whether there are more."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


def listed(data: list[T], more: bool) -> ListOf[T]:
    """A page of objects that have an `id`."""
    ids = [str(getattr(one, "id")) for one in data]  # noqa: B009  T has no id for the type checker
    return ListOf(data=data, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None,
                  has_more=more and bool(ids))  # fmt: skip


async def _after(after: str | None = Query(None, description="the last id of the page before")) -> str | None:
    if after and not NAME.match(after):
        raise StoreError("invalid_cursor", cursor=after[:40].encode("ascii", "replace").decode())
    return after or None


After = Annotated[str | None, Depends(_after)]


def limited(default: int, most: int = MOST) -> object:
    """`limit` as a whole number from 1; above `most` it is `most`."""

    async def wanted(limit: str | None = Query(None, description=f"1 to {most}", pattern=_LIMIT)) -> int:
        return min(int(limit), most) if limit else default

    return Depends(wanted)


def checked_name(name: str, kind: str) -> str:
    """An id or a model's name as it came in. What cannot be one is not looked for.

    kind: file, upload, model, permission, key, dataset. Raises StoreError `<kind>_not_found`.
    """
    if not NAME.match(name):
        shown: dict[str, Any] = {kind: name[:40].encode("ascii", "replace").decode()}
        raise StoreError(f"{kind}_not_found", **shown)
    return name
