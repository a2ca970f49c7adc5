"""The tables. Every row that a client can list has `seq`, which only grows: pages are cut by it, never by a clock.

Rows are handed out detached: plain values to read. They are changed through the functions of this room and of `jobs`.
Times are Unix seconds of this machine's clock, to be shown; nothing but expiry is decided by comparing them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

BIG = BigInteger().with_variant(Integer(), "sqlite")  # only an INTEGER key counts by itself in SQLite


class Table(DeclarativeBase):
    """The root of all tables."""

    type_annotation_map = {int: BIG, dict[str, Any]: JSON, list[Any]: JSON, str: Text}  # noqa: RUF012


class Project(Table):
    """A group of keys that see the same objects. `quota_bytes`: of its files and parts; None: no bound."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    quota_bytes: Mapped[int | None]
    created_at: Mapped[int]


class Key(Table):
    """An API key: only a salted hash of its secret half is kept."""

    __tablename__ = "keys"
    __table_args__ = ({"sqlite_autoincrement": True},)
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    salt: Mapped[str]
    digest: Mapped[str]
    scopes: Mapped[list[Any]]  # of: read, train, serve, admin
    requests_per_minute: Mapped[int | None]
    tokens_per_day: Mapped[int | None]
    made_by: Mapped[str | None] = mapped_column(String(64))  # the key it was made with; None: the command line
    limits: Mapped[list[Any]]  # all that bind it: its own and its makers', {key, requests_per_minute, tokens_per_day}
    created_at: Mapped[int]
    rotated_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


class TokenDay(Table):
    """The tokens of a key on a day (days since 1970, UTC): used, and booked by requests that are under way."""

    __tablename__ = "token_days"
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    used: Mapped[int]
    booked: Mapped[int]


class WebSession(Table):
    """A browser that has signed in: only the hash of its cookie is kept."""

    __tablename__ = "web_sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    created_at: Mapped[int]
    seen_at: Mapped[int]


class AuditLine(Table):
    """Who did what. `times`: the same again within an hour is counted, not written anew."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_of_project", "project", "seq"), Index("audit_of_object", "object", "act", "seq"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str] = mapped_column(String(64))  # of audit.NOBODY and COMMAND_LINE, too
    key_name: Mapped[str]
    act: Mapped[str] = mapped_column(String(40))
    object: Mapped[str] = mapped_column(String(255))
    reason: Mapped[str]
    address: Mapped[str] = mapped_column(String(64))
    times: Mapped[int]
    created_at: Mapped[int]
    last_at: Mapped[int]


class Blob(Table):
    """Bytes named by their SHA-256, and how many files and parts use them."""

    __tablename__ = "blobs"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int]
    uses: Mapped[int]


class File(Table):
    """A file of a project: a name for display, and which bytes it has."""

    __tablename__ = "files"
    __table_args__ = (Index("files_of_project", "project", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    bytes: Mapped[int]
    status: Mapped[str]  # uploaded processed error
    status_details: Mapped[str | None]
    created_at: Mapped[int]
    expires_at: Mapped[int | None]


class Upload(Table):
    """A file that comes in parts."""

    __tablename__ = "uploads"
    __table_args__ = ({"sqlite_autoincrement": True},)
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    mime_type: Mapped[str]
    bytes: Mapped[int]
    status: Mapped[str]  # pending completed cancelled expired
    created_at: Mapped[int]
    expires_at: Mapped[int]
    file_expires_after: Mapped[int | None]
    file_id: Mapped[str | None]
    part_ids: Mapped[list[Any] | None]  # as completed


class Part(Table):
    """One part of an upload."""

    __tablename__ = "parts"
    __table_args__ = (Index("parts_of_upload", "upload_id"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    bytes: Mapped[int]
    created_at: Mapped[int]


class Job(Table):
    """A piece of work. The row is the truth; `attempt` fences every write of a worker that is not the current one."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_of_project", "project", "seq"),
        Index("jobs_by_turn", "status", "claimed", "priority", "seq"),
        {"sqlite_autoincrement": True},
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[str]  # training evaluation answers
    status: Mapped[str] = mapped_column(String(32))  # validating_files queued running succeeded failed cancelled paused
    priority: Mapped[int]
    # what was asked for, as the client said it
    model: Mapped[str]
    training_file: Mapped[str | None]
    validation_file: Mapped[str | None]
    suffix: Mapped[str | None]
    seed: Mapped[int]
    request: Mapped[dict[str, Any]]  # method, hyperparameters, integrations, x_postil, ...: for the doors to show again
    order: Mapped[dict[str, Any]]  # the same as the worker takes it: see jobs.Order
    resolved: Mapped[dict[str, Any]]  # the plan's values, once it stands
    # who works on it
    attempt: Mapped[int]
    claimed: Mapped[bool]  # a worker is, or should be, at it
    server: Mapped[str | None] = mapped_column(String(64))  # whose watch looks after that worker
    wish: Mapped[str | None]  # pause | keep: what the running worker is asked to do
    hold: Mapped[str | None]  # why it waits although it is queued: storage_full
    needs: Mapped[dict[str, Any]]  # memory_mb cpus gpus
    without_progress: Mapped[int]  # attempts lost since the last new checkpoint
    last_checkpoint: Mapped[int]
    read_bytes: Mapped[int]  # of the present attempt's events.jsonl
    resumed_from: Mapped[list[Any]]
    # what is known of it
    progress: Mapped[dict[str, Any]]  # percent stage step total_steps seconds_left cost
    events: Mapped[int]  # the number of the last event
    fine_tuned_model: Mapped[str | None]
    adapter_sha256: Mapped[str | None]
    trained_tokens: Mapped[int | None]
    result: Mapped[dict[str, Any] | None]
    result_files: Mapped[list[Any]]
    error: Mapped[dict[str, Any] | None]  # code message param, and code_postil + values for both languages
    created_at: Mapped[int]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]
    estimated_finish: Mapped[int | None]


class JobLabel(Table):
    """One pair of a job's metadata, to be looked for."""

    __tablename__ = "job_labels"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(512))


class JobEvent(Table):
    """Something that a job told. `number` counts from 1 in each job; `key`: a step is told once."""

    __tablename__ = "job_events"
    __table_args__ = (
        UniqueConstraint("job_id", "number"), UniqueConstraint("job_id", "key"), {"sqlite_autoincrement": True},
    )  # fmt: skip
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    key: Mapped[str | None] = mapped_column(String(64))
    level: Mapped[str]  # info warn error
    type: Mapped[str]  # message metrics
    message: Mapped[str]  # English, as OpenAI's tools match it
    code: Mapped[str | None]  # event.<code> in `locales/`, with `data` as its values
    data: Mapped[dict[str, Any] | None]
    created_at: Mapped[int]


class DataSet(Table):
    """A version of a data set: a file, and how it is read and put right. Versions of one data set share `family`."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("datasets_of_project", "project", "newest", "seq"), UniqueConstraint("family", "version"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    file_id: Mapped[str] = mapped_column(String(64))
    reading: Mapped[dict[str, Any]]  # sheet columns system instruction mask edits without: as flow.Reading has them
    facts: Mapped[dict[str, Any]]  # what was found when it was made: rows, examples, ...
    parent: Mapped[str | None] = mapped_column(String(64))  # the version that it was made from
    family: Mapped[str] = mapped_column(String(64))  # the id of the first version
    version: Mapped[int]  # from 1
    newest: Mapped[bool]
    created_at: Mapped[int]


class Model(Table):
    """A fine-tuned model or one of its checkpoints. `live`: it may be called."""

    __tablename__ = "models"
    __table_args__ = (Index("models_of_project", "project", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(255), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    base: Mapped[str]
    base_sha256: Mapped[str]
    adapter_sha256: Mapped[str]
    directory: Mapped[str]  # below the store's directory
    job_id: Mapped[str | None]
    checkpoint_id: Mapped[str | None]
    verdict: Mapped[dict[str, Any] | None]
    live: Mapped[bool]
    created_at: Mapped[int]


class ModelLog(Table):
    """Why a model may be called or not, who said so, and when."""

    __tablename__ = "model_log"
    __table_args__ = ({"sqlite_autoincrement": True},)
    seq: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(String(255), index=True)
    action: Mapped[str]  # released held overridden withdrawn deleted
    by: Mapped[str]  # key id, or "evaluation"
    reason: Mapped[str]
    created_at: Mapped[int]


class ModelNote(Table):
    """What a project writes beside a model. `by`: key id."""

    __tablename__ = "model_notes"
    model_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    text: Mapped[str]
    by: Mapped[str]
    updated_at: Mapped[int]


class Line(Table):
    """A business line: a name that can be called, "line:<name>", and the model that answers under it now."""

    __tablename__ = "lines"
    __table_args__ = (UniqueConstraint("project", "name"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(64))
    title: Mapped[str]  # as people call it
    model: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[int]
    updated_at: Mapped[int]


class LineLog(Table):
    """Which model a line was given, by whom and why, in order."""

    __tablename__ = "line_log"
    __table_args__ = ({"sqlite_autoincrement": True},)
    seq: Mapped[int] = mapped_column(primary_key=True)
    line_id: Mapped[str] = mapped_column(String(64), index=True)
    action: Mapped[str]  # set rolled_back
    model: Mapped[str]
    by: Mapped[str]  # key id
    reason: Mapped[str]
    created_at: Mapped[int]


class Checkpoint(Table):
    """A checkpoint that can be called and continued from."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "step"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    project: Mapped[str]
    model_id: Mapped[str] = mapped_column(String(255))
    step: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[int]


class Permission(Table):
    """A project that may use another's checkpoint."""

    __tablename__ = "permissions"
    __table_args__ = (UniqueConstraint("model_id", "project"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    model_id: Mapped[str] = mapped_column(String(255), index=True)
    project: Mapped[str]
    created_at: Mapped[int]


class EvaluationSet(Table):
    """Questions with right answers, kept to be asked again: a file of messages, and where it came from."""

    __tablename__ = "evaluation_sets"
    __table_args__ = (Index("sets_of_project", "project", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    source: Mapped[str]  # file job corrections
    origin: Mapped[str]  # the id of that file, job or correction set
    file_id: Mapped[str] = mapped_column(String(64))
    examples: Mapped[int]
    created_at: Mapped[int]


class CorrectionSet(Table):
    """A heap of corrections, out of which the next training or evaluation file is made."""

    __tablename__ = "correction_sets"
    __table_args__ = (Index("correction_sets_of_project", "project", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    created_at: Mapped[int]


class Correction(Table):
    """What a person thought of an answer. `right`: what should have been said; None while nobody has written it."""

    __tablename__ = "corrections"
    __table_args__ = (Index("corrections_of_set", "set_id", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    set_id: Mapped[str] = mapped_column(ForeignKey("correction_sets.id"))
    project: Mapped[str]
    messages: Mapped[list[Any]]  # all that stood before the answer: {"role", "content"}
    answer: Mapped[str]  # what was said
    right: Mapped[str | None]
    thumb: Mapped[str | None] = mapped_column(String(8))  # up down
    model: Mapped[str]
    note: Mapped[str]
    by: Mapped[str]  # key id
    created_at: Mapped[int]
    updated_at: Mapped[int]


class Ballot(Table):
    """A blind comparison that people vote on. `rows`: {"question", "reference", "base", "tuned"}."""

    __tablename__ = "ballots"
    __table_args__ = (Index("ballots_of_project", "project", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    question: Mapped[str]  # what raters are asked to look at
    origin: Mapped[str]  # the job whose answers these are
    model: Mapped[str] = mapped_column(String(255))
    seed: Mapped[str] = mapped_column(String(64))  # of sides and order; never told
    rows: Mapped[list[Any]]
    created_at: Mapped[int]
    closed_at: Mapped[int | None]


class Rater(Table):
    """A person who votes, by a link of their own: only the hash of its secret is kept."""

    __tablename__ = "raters"
    __table_args__ = (Index("raters_of_ballot", "ballot_id", "seq"), {"sqlite_autoincrement": True})
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    ballot_id: Mapped[str] = mapped_column(ForeignKey("ballots.id"))
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[int]


class Vote(Table):
    """What a rater said of a row, with the sides as they were shown: a, b, same, both_bad."""

    __tablename__ = "votes"
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    choice: Mapped[str] = mapped_column(String(8))
    comment: Mapped[str]
    created_at: Mapped[int]


class Reply(Table):
    """A request that must have one effect however often it is sent, and what was answered to it."""

    __tablename__ = "replies"
    __table_args__ = (
        Index("replies_by_body", "key_id", "path", "body_sha256", "seq"),
        UniqueConstraint("key_id", "method", "path", "token"),
        {"sqlite_autoincrement": True},
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    key_id: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(8))
    path: Mapped[str] = mapped_column(String(512))
    token: Mapped[str | None] = mapped_column(String(255))  # Idempotency-Key
    body_sha256: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str | None]  # what was made, known as soon as it exists
    status: Mapped[int | None]  # HTTP; None while the first is still being answered
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[int]


class Gone(Table):
    """The place of a deleted object in its list, so that a page can go on after it."""

    __tablename__ = "gone"
    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    kind: Mapped[str]  # files jobs ...: the table
    scope: Mapped[str]  # project or parent
    place: Mapped[int]


class Directory(Table):
    """The directory that belongs to this database, by the id that stands in it, too. One row."""

    __tablename__ = "directory"
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # 1
    id: Mapped[str] = mapped_column(String(64))


class Server(Table):
    """A process that watches over workers, and a number that it counts up while it lives."""

    __tablename__ = "servers"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str]
    process: Mapped[str]  # pid and start time
    namespace: Mapped[str] = mapped_column(Text, server_default="")  # where that pid is one: see jobs.processes
    beat: Mapped[int]
