"""A directory with an adapter gets a name that can be called: what was made on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from postil.errors import ModelError
from postil.jobs.publish import Publisher
from postil.jobs.queue import model_name
from postil.plan import known
from postil.records import ADAPTER_WEIGHTS, Adapter
from postil.settings import Settings
from postil.store import Store, read_json, sha256
from postil.store import models as names

if TYPE_CHECKING:
    from postil.store.tables import Model


def register(store: Store, project: str, adapter: Adapter, suffix: str | None) -> Model:
    """Copy the adapter into the store and name it. It is live unless its evaluation speaks against it.

    Raises ModelError `base_unnamed` when its base is none of the models that the server knows by name.
    """
    base = next((one for one in known(Settings().home) if one.path is not None and _same(one.path, adapter)), None)
    if base is None:
        raise ModelError("base_unnamed", name=adapter.base, path=str(adapter.base_path))
    directory = Publisher(store).take_in(adapter.path)
    file = adapter.path / "result.json"
    with store.database.write() as session:
        return names.add(
            session,
            project=project,
            name=model_name(base.name, project, suffix),
            base=base.name,
            base_sha256=adapter.base_sha256,
            adapter_sha256=sha256(adapter.path / ADAPTER_WEIGHTS),
            directory=directory,
            result=read_json(file) if file.exists() else None,
        )


def _same(path: Path, adapter: Adapter) -> bool:
    """Whether the base that lies in `path` is the adapter's own."""
    from postil.bases import fingerprint_of

    return fingerprint_of(path) == adapter.base_sha256
