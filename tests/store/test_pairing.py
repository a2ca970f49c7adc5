"""A database is used with the directory that belongs to it, and with no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, text

from postil.errors import StoreError
from postil.store import LOCAL, Database, Store
from postil.store import models as names
from postil.store.migrate import upgrade
from postil.store.pairing import NAME
from postil.store.tables import Directory


def other(tmp_path: Path, url: str) -> str:
    """A database that does not lie in the store's directory: the one of the test, or a file elsewhere."""
    return url or f"sqlite:///{tmp_path / 'elsewhere.db'}"


def with_model(store: Store) -> None:
    """A model that is called, with its adapter on the disk."""
    (store.directory / "adapters" / "abc").mkdir(parents=True)
    with store.database.write() as session:
        names.add(session, project=LOCAL, name="ft:x:local::a", base="x", base_sha256="b", adapter_sha256="a",
                  directory="adapters/abc")  # fmt: skip


def landed(store: Store) -> None:
    """As a version without ids left both."""
    with store.database.write() as session:
        session.execute(delete(Directory))
    (store.directory / NAME).unlink()


def refusal(directory: Path, url: str) -> StoreError:
    with pytest.raises(StoreError) as error:
        Store(directory, url)
    return error.value


def test_the_first_start_lets_both_belong_together_for_good(tmp_path: Path, database: str) -> None:
    url = other(tmp_path, database)
    for _ in range(3):
        Store(tmp_path / "a", url).close()
    assert (tmp_path / "a" / NAME).read_text().startswith("dir_")


def test_fault_23_a_second_server_with_a_directory_of_its_own_is_told_what_to_share(
    tmp_path: Path, database: str
) -> None:
    url = other(tmp_path, database)
    Store(tmp_path / "a", url).close()
    error = refusal(tmp_path / "b", url)
    assert error.code == "directory_elsewhere" and "POSTIL_DATA" in error.remedy("en")
    (tmp_path / "b").rename(tmp_path / "unused")
    (tmp_path / "b").symlink_to(tmp_path / "a")  # the remedy: the same directory, wherever it is mounted
    Store(tmp_path / "b", url).close()


def test_the_remedy_for_a_directory_that_is_lost_works(tmp_path: Path, database: str) -> None:
    url = other(tmp_path, database)
    store = Store(tmp_path / "a", url)
    with_model(store)
    store.close()
    shutil.rmtree(tmp_path / "a")
    error = refusal(tmp_path / "a", url)
    assert error.code == "directory_elsewhere" and error.values["id"] in error.remedy("zh")
    (tmp_path / "a" / error.values["file"]).write_text(error.values["id"])
    Store(tmp_path / "a", url).close()


def test_fault_23_a_directory_with_models_of_another_database_is_not_tidied_away(tmp_path: Path, database: str) -> None:
    """A person names a new database and keeps POSTIL_DATA: it knows no model, and would remove them all."""
    store = Store(tmp_path / "a")
    with_model(store)
    store.close()
    url = other(tmp_path, database)
    assert refusal(tmp_path / "a", url).code == "directory_of_another"
    assert (tmp_path / "a" / "adapters" / "abc").exists()
    Store(tmp_path / "a").close()  # the remedies: its own database, or a new directory
    Store(tmp_path / "b", url).close()


def test_directories_are_not_exchanged(tmp_path: Path, database: str) -> None:
    Store(tmp_path / "a", other(tmp_path, database)).close()
    Store(tmp_path / "b", f"sqlite:///{tmp_path / 'third.db'}").close()
    assert refusal(tmp_path / "b", other(tmp_path, database)).code == "directory_of_another"


@pytest.mark.parametrize("model", [True, False])
def test_both_as_an_earlier_version_left_them_belong_together(tmp_path: Path, database: str, model: bool) -> None:
    url = other(tmp_path, database)
    store = Store(tmp_path / "a", url)
    if model:
        with_model(store)
    landed(store)
    store.close()
    if model:
        assert refusal(tmp_path / "b", url).code == "directory_elsewhere"
    Store(tmp_path / "a", url).close()
    assert refusal(tmp_path / "b", url).code == "directory_elsewhere"


def test_a_directory_of_an_earlier_version_is_not_given_to_a_new_database(tmp_path: Path, database: str) -> None:
    store = Store(tmp_path / "a")
    with_model(store)
    landed(store)
    store.close()
    assert refusal(tmp_path / "a", other(tmp_path, database)).code == "directory_of_another"


def test_a_copy_of_the_directory_with_its_own_database_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    with_model(store)
    store.close()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "copy" / NAME).unlink()
    Store(tmp_path / "copy").close()
    assert (tmp_path / "copy" / NAME).read_text() == (tmp_path / "a" / NAME).read_text()


def crash(at: str) -> Callable[..., None]:
    def broken(*arguments: object) -> None:
        raise OSError(at)

    return broken


@pytest.mark.parametrize("at", ["write_text", "after"])
def test_fault_23_a_first_start_that_is_cut_short_is_begun_again(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    from postil.store import pairing

    url = other(tmp_path, database)
    with monkeypatch.context() as patch:
        if at == "write_text":
            patch.setattr(pairing, "write_text", crash(at))
        else:  # the file is there, the transaction is not
            write = pairing.write_text
            patch.setattr(pairing, "write_text", lambda path, text: (write(path, text), crash(at)()))
        with pytest.raises(OSError, match=at):
            Store(tmp_path / "a", url)
    Store(tmp_path / "a", url).close()


def test_a_database_of_the_version_before_gets_its_id(tmp_path: Path, database: str) -> None:
    older = Database(other(tmp_path, database))
    upgrade(older, "0003")
    with older.write() as session:
        session.execute(text("INSERT INTO servers (id, host, process, beat) VALUES ('server_a', 'h', '1/x', 1)"))
    older.close()
    store = Store(tmp_path / "a", other(tmp_path, database))
    with store.database.read() as session:
        assert session.execute(text("SELECT namespace FROM servers")).scalar() == ""
        assert session.get(Directory, 1) is not None
    store.close()
