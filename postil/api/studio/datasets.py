"""Data sets: a file and how it is read and put right, under a name and in versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, TheHouse, may
from postil.api.lists import After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.refusals import Refused, documented
from postil.api.studio.data import Corrected, reading_of
from postil.errors import StoreError

if TYPE_CHECKING:
    from postil.store.tables import DataSet

router = APIRouter(route_class=StrictRoute, tags=["Studio: data sets"], responses=documented(409))

Name = Annotated[str, Field(min_length=1, max_length=200)]
Facts = Annotated[dict[Annotated[str, Field(min_length=1, max_length=64)], Any], Field(max_length=50)]


class DatasetBody(Corrected):
    """A new data set. `facts`: what the check said of it, to be shown in lists."""

    name: Name
    facts: Facts | None = None


class VersionBody(Corrected):
    """A new version: all of the reading as it shall be now."""

    name: Name | None = None
    facts: Facts | None = None


class DatasetObject(BaseModel):
    """One version of a data set. Versions of one data set share `family`; `parent` is the one that it was made from."""

    id: str
    object: Literal["postil.dataset"] = "postil.dataset"
    name: str
    file: str
    reading: dict[str, Any]
    facts: dict[str, Any]
    version: int
    newest: bool
    family: str
    parent: str | None
    created_at: int


class DatasetDeleted(BaseModel):
    """All versions of it; the files stay."""

    id: str
    deleted: Literal[True] = True


class Renamed(Body):
    """What may be said of a data set without a new version."""

    name: Name


@router.post("/datasets", response_model=DatasetObject, dependencies=[may("train")])
def create_dataset(request: Request, body: DatasetBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Remember a file, and how it is read and put right, under a name."""
    reading = reading_of(body)
    file = _file_name(body.file)

    def make(reply: str | None) -> DatasetObject:
        try:
            return shown(house.store.datasets.create(caller.project, body.name, file, reading, body.facts, reply))
        except StoreError as error:
            raise _of_file(error) from error

    def again(dataset_id: str) -> DatasetObject:
        return shown(house.store.datasets.get(caller.project, dataset_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


@router.get("/datasets", dependencies=[may("read")])
def list_datasets(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[DatasetObject]:
    """The newest version of each data set of the project, newest first."""
    page = house.store.datasets.list(caller.project, after=after, limit=limit)
    return listed([shown(row) for row in page.rows], page.more)


@router.get("/datasets/{dataset_id}", dependencies=[may("read")])
def retrieve_dataset(dataset_id: str, house: TheHouse, caller: Caller) -> DatasetObject:
    """One version of a data set."""
    return shown(house.store.datasets.get(caller.project, checked_name(dataset_id, "dataset")))


@router.get("/datasets/{dataset_id}/versions", dependencies=[may("read")])
def dataset_versions(dataset_id: str, house: TheHouse, caller: Caller) -> ListOf[DatasetObject]:
    """All versions of the data set to which this one belongs, the first one first."""
    rows = house.store.datasets.versions(caller.project, checked_name(dataset_id, "dataset"))
    return listed([shown(row) for row in rows], False)


@router.post("/datasets/{dataset_id}/versions", response_model=DatasetObject, dependencies=[may("train")])
def revise_dataset(
    dataset_id: str, request: Request, body: VersionBody, house: TheHouse, caller: Caller
) -> JSONResponse:
    """A new version, after this one. The same file and reading again is that version and no other."""
    parent, reading, file = checked_name(dataset_id, "dataset"), reading_of(body), _file_name(body.file)

    def make(reply: str | None) -> DatasetObject:
        try:
            return shown(house.store.datasets.revise(
                caller.project, parent, name=body.name, file_id=file, reading=reading, facts=body.facts, reply=reply,
            ))  # fmt: skip
        except StoreError as error:
            raise _of_file(error) from error

    def again(made: str) -> DatasetObject:
        return shown(house.store.datasets.get(caller.project, made))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


@router.post("/datasets/{dataset_id}", dependencies=[may("train")])
def rename_dataset(dataset_id: str, body: Renamed, house: TheHouse, caller: Caller) -> DatasetObject:
    """Give a data set another name: all of its versions have it."""
    return shown(house.store.datasets.rename(caller.project, checked_name(dataset_id, "dataset"), body.name))


@router.delete("/datasets/{dataset_id}", dependencies=[may("train")])
def delete_dataset(dataset_id: str, house: TheHouse, caller: Caller) -> DatasetDeleted:
    """Forget a data set with all of its versions; its files stay."""
    house.store.datasets.delete(caller.project, checked_name(dataset_id, "dataset"), caller.id)
    return DatasetDeleted(id=dataset_id)


def shown(row: DataSet) -> DatasetObject:
    return DatasetObject(
        id=row.id, name=row.name, file=row.file_id, reading=dict(row.reading), facts=dict(row.facts),
        version=row.version, newest=row.newest, family=row.family, parent=row.parent, created_at=row.created_at,
    )  # fmt: skip


def _file_name(file_id: str) -> str:
    try:
        return checked_name(file_id, "file")
    except StoreError as error:
        raise _of_file(error) from error


def _of_file(error: StoreError) -> Refused:
    """A file that the body names and that is not there is a wrong body."""
    return Refused(error, param="file", status=400) if error.code == "file_not_found" else Refused(error)
