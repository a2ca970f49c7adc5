"""The store: one database and one directory, opened together."""

from __future__ import annotations

from pathlib import Path

from postil.secret import Address
from postil.settings import Settings
from postil.store.audit import Audit
from postil.store.ballots import Ballots
from postil.store.blobs import Blobs
from postil.store.corrections import Corrections
from postil.store.database import Database, refuse_network
from postil.store.datasets import DataSets
from postil.store.files import make_directory
from postil.store.keys import LOCAL, Keys, ensure_project
from postil.store.lines import Lines
from postil.store.migrate import upgrade
from postil.store.models import Models
from postil.store.pairing import pair
from postil.store.replies import Replies
from postil.store.sessions import WebSessions
from postil.store.sets import Sets
from postil.store.tokens import Tokens
from postil.store.uploaded import Files, Uploads


class Store:
    """All that is remembered. Threads share it; every process opens its own.

    database   sessions on the tables        directory   where jobs and adapters lie
    files      files of projects             uploads     files that come in parts
    keys       who may do what               models      what can be called by name
    sets       evaluation sets               corrections what people thought of answers
    ballots    blind votes                   lines      which model answers for a business line
    datasets   files and how they are read, in versions
    replies    requests that were sent again          tokens     what keys use in a day
    sessions   browsers that have signed in           audit      who did what
    """

    def __init__(self, directory: Path, database: str | Address = "", files: str | Address = "") -> None:
        """`database`: a URL, by default SQLite in `directory`; `files`: where bytes go, as fsspec names it.

        The tables are brought up to date. Raises StoreError.
        """
        make_directory(directory, private=True)
        self.directory = directory.resolve()
        self.database = Database(Address(database).reveal() or f"sqlite:///{self.directory / 'postil.db'}")
        upgrade(self.database)
        pair(self.database, self.directory, inside=self.database.is_in(self.directory))
        self.blobs = Blobs(Address(files).reveal() or str(self.directory / "blobs"), self.directory / "staging")
        self.files = Files(self.database, self.blobs)
        self.uploads = Uploads(self.database, self.blobs, self.files)
        self.sets, self.corrections = Sets(self.database, self.files), Corrections(self.database)
        self.ballots, self.lines = Ballots(self.database), Lines(self.database)
        self.datasets = DataSets(self.database)
        self.keys, self.models, self.replies = Keys(self.database), Models(self.database), Replies(self.database)
        self.tokens, self.sessions, self.audit = Tokens(self.database), WebSessions(self.database), Audit(self.database)
        with self.database.write() as session:
            ensure_project(session, LOCAL)

    def close(self) -> None:
        self.database.close()


def open_store(settings: Settings | None = None) -> Store:
    """The store that the settings name."""
    told = settings or Settings()
    directory = told.data or told.home / "studio"
    if not told.database:
        refuse_network(directory / "postil.db")
    return Store(directory, told.database, told.files)
