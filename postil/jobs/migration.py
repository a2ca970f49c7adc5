"""A fine-tuning job of another service becomes an Order, with a list of what was carried over and what was not.

It stands here because an Order is what it makes: both doors that take such descriptions lie above, and what the
Order's settings may be is known below, in `plan`. What each service calls things is data: services.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

from postil.errors import JobError, PlanError
from postil.jobs.order import Order
from postil.locales import as_argument, say
from postil.plan import check_settings
from postil.records import Base

MOST_BYTES = 4 << 20
MOST_FIELDS = 500
SHOWN = 200  # characters of a value
CHINA = timezone(timedelta(hours=8))  # DashScope tells its times without a zone
ORDERED = ("suffix", "seed", "learning_rate_multiplier")  # what an Order holds beside the plan's settings
AZURE_STATES = ("notRunning", "canceled", "pending", "created")
TOGETHER_FIELDS = frozenset(
    {"training_type", "training_method", "model_output_name", "n_checkpoints", "n_evals", "lora", "lora_r",
     "train_on_inputs", "learning_rate", "epochs_completed"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mapped:
    """`theirs` with its value became `ours` with that value; "auto" leaves it to the plan."""

    theirs: str
    value: Any
    ours: str
    becomes: Any


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not carried over. `import.<reason>` is the sentence."""

    theirs: str
    value: Any
    reason: str

    def why(self, lang: str | None = None) -> str:
        return say(f"import.{self.reason}", lang)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "why": self.why()}


@dataclass(frozen=True)
class Migration:
    """What a description asks for, in our words. `base`: of the catalogue, None when it has no such model."""

    service: str
    model: str | None
    base: str | None
    training_files: tuple[str, ...] = ()
    validation_files: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    suffix: str | None = None
    seed: int | None = None
    learning_rate_multiplier: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    mapped: tuple[Mapped, ...] = ()
    left: tuple[LeftOut, ...] = ()

    def order(self, model: str, training_file: str, validation_file: str | None = None) -> Order:
        """The same job with our own files, for the queue."""
        shown = {name: self.settings.get(name, "auto") for name in ("n_epochs", "batch_size")}
        shown["learning_rate_multiplier"] = self.learning_rate_multiplier or "auto"
        return Order(
            kind="training", model=model, training_file=training_file, validation_file=validation_file,
            suffix=self.suffix, seed=self.seed, settings=self.settings, metadata=self.metadata,
            learning_rate_multiplier=self.learning_rate_multiplier,
            request={"hyperparameters": shown, "integrations": [], "x_postil": {}},
        )  # fmt: skip

    def command(self, base: str, data: str | None = None, validation: str | None = None) -> str:
        """The line that trains the same on the command line; it has no word for a multiplier of the rate."""
        seed = {"seed": self.seed} if self.seed is not None else {}
        settings = [f"--set {name}={as_argument(value)}" for name, value in {**self.settings, **seed}.items()]
        files = [as_argument(data or "FILE"), *([f"--validation {as_argument(validation)}"] if validation else [])]
        return " ".join(["postil train", *files, f"--base {as_argument(base)}", *settings, "--output DIR"])

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service, "model": self.model, "base": self.base, "settings": dict(self.settings),
            "suffix": self.suffix, "seed": self.seed, "learning_rate_multiplier": self.learning_rate_multiplier,
            "metadata": dict(self.metadata), "training_files": list(self.training_files),
            "validation_files": list(self.validation_files), "mapped": [asdict(one) for one in self.mapped],
            "left": [one.as_json() for one in self.left],
        }  # fmt: skip


def read_description(path: Path) -> Any:
    """The JSON in `path`. Raises JobError `description_unreadable`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise JobError("description_unreadable", path=str(path))
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as broken:
        raise JobError("description_unreadable", path=str(path)) from broken


def migrate(told: Any, bases: Sequence[Base]) -> Migration:
    """What a service's API returned for a job, or what one posts to it, as we would say it.

    `bases`: the catalogue, in which their model is looked for. Raises JobError `description_unknown` (no job of a
    known service), `description_of_many` (a list of jobs), `method_not_importable`.
    """
    job = _job(told)
    service = _service(job)
    words = _words(service)
    leaves = _leaves(job, frozenset({"metadata"}))
    if len(leaves) > MOST_FIELDS:
        raise JobError("description_unknown")
    _refuse_other_methods(words, leaves)
    return _Reader(service, words, leaves, bases).read()


class _Reader:
    """Goes through the fields of one description, each of which ends up in `mapped` or in `left`."""

    def __init__(
        self, service: str, words: Mapping[str, Any], leaves: Mapping[str, Any], bases: Sequence[Base]
    ) -> None:
        self._service, self._words, self._leaves, self._bases = service, words, leaves, bases
        self._full = any(leaves.get(path) in values for path, values in words["full_tuning"].items())
        self._settings: dict[str, Any] = {}
        self._metadata: dict[str, str] = {"imported_from": service}
        self._mapped: list[Mapped] = []
        self._left: list[LeftOut] = []

    def read(self) -> Migration:
        model = next((str(self._leaves[path]) for path in self._words["model"] if self._leaves.get(path)), None)
        base = _base(model, self._bases) if model else None
        training: tuple[str, ...] = ()
        validation: tuple[str, ...] = ()
        for path, value in self._leaves.items():
            if value in (None, "", [], {}):
                continue
            if path in self._words["model"]:
                self._model(path, value, base)
            elif path in self._words["training_files"]:
                training = self._files(path, value)
            elif path in self._words["validation_files"]:
                validation = self._files(path, value)
            else:
                self._field(path, value)
        ordered = {name: self._settings.pop(name, None) for name in ORDERED}
        return Migration(self._service, model, base, training, validation, self._settings, **ordered,
                         metadata=self._metadata, mapped=tuple(self._mapped), left=tuple(self._left))  # fmt: skip

    def _files(self, path: str, value: Any) -> tuple[str, ...]:
        """Their names of files: a list or a single one. We take one file."""
        names = tuple(str(one) for one in value) if isinstance(value, list) else (str(value),)
        self._leave(path, value, "join_files" if len(names) > 1 else "their_file")
        return names

    def _field(self, path: str, value: Any) -> None:
        words = self._words
        if path == "status":
            self._leave(path, words["status"].get(value, value) if isinstance(value, str) else value, "old_status")
        elif path in words["method"] or path in words["full_tuning"]:
            if self._full:
                self._leave(path, value, "full_tuning")
            else:
                self._map(path, value, "method", "supervised")
        elif path in words["settings"]:
            self._setting(path, value, words["settings"][path])
        elif path in words["kept"]:
            self._keep(path, value, words["kept"][path])
        else:
            self._leave(path, value, words["left"].get(path) or _by_its_head(path, words["left"]))

    def _model(self, path: str, value: Any, base: str | None) -> None:
        if base is not None:
            self._map(path, value, "base", base)
        else:
            self._leave(path, value, "their_weights" if str(value).startswith("ft:") else "no_such_base")

    def _setting(self, path: str, value: Any, ours: str) -> None:
        if isinstance(value, str) and value.lower() in ("auto", "max"):
            self._map(path, value, ours, "auto")
        elif ours == "learning_rate" and self._full:
            self._leave(path, value, "full_rate")
        else:
            try:
                becomes = _value(ours, value)
            except (PlanError, ValueError, TypeError, OverflowError):
                self._leave(path, value, "out_of_range")
                return
            self._settings[ours] = becomes
            self._map(path, value, ours, becomes)

    def _keep(self, path: str, value: Any, ours: str) -> None:
        if ours == "suffix":
            self._settings["suffix"] = str(value)[:64]
            self._map(path, value, ours, str(value)[:64])
        elif ours == "metadata":
            for name, one in list(value.items())[:12] if isinstance(value, dict) else []:
                self._metadata[str(name)[:64]] = str(one)[:512]
                self._map(f"metadata.{name}", one, f"metadata.{str(name)[:64]}", str(one)[:512])
        elif (becomes := _seconds(value) if ours == "created_at" else str(value)[:512]) is None:
            self._leave(path, value, "old_job")
        else:
            self._metadata[f"imported_{ours}"] = becomes
            self._map(path, value, f"metadata.imported_{ours}", becomes)

    def _map(self, theirs: str, value: Any, ours: str, becomes: Any) -> None:
        self._mapped.append(Mapped(theirs, _short(value), ours, becomes))

    def _leave(self, theirs: str, value: Any, reason: str) -> None:
        self._left.append(LeftOut(theirs, "***" if reason == "secret" else _short(value), reason))


# ── what the description is ──


def _job(told: Any) -> Mapping[str, Any]:
    """The job itself, out of whatever it came wrapped in."""
    for inner in ("output", "data", "job"):
        if isinstance(told, dict) and "model" not in told and inner in told:
            told = told[inner]
    if isinstance(told, list):
        if len(told) != 1:
            raise JobError("description_of_many", n=len(told))
        told = told[0]
    if not isinstance(told, dict):
        raise JobError("description_unknown")
    return told


def _service(job: Mapping[str, Any]) -> str:
    """Which service speaks like this."""
    if "training_file_ids" in job or "hyper_parameters" in job:
        return "dashscope"
    if "training_file" not in job:
        raise JobError("description_unknown")
    if TOGETHER_FIELDS & job.keys():
        return "together"
    asked = job.get("hyperparameters")
    weighs = isinstance(asked, dict) and "prompt_loss_weight" in asked
    return "azure" if "trainingType" in job or weighs or job.get("status") in AZURE_STATES else "openai"


def _refuse_other_methods(words: Mapping[str, Any], leaves: Mapping[str, Any]) -> None:
    for path, names in words["method"].items():
        said = leaves.get(path)
        if said is not None and (not isinstance(said, str) or names.get(said) != "supervised"):
            raise JobError("method_not_importable", method=str(said)[:80])


def _leaves(job: Mapping[str, Any], whole: frozenset[str]) -> dict[str, Any]:
    """Every field by its path with dots. Lists stay lists, and so do the objects named in `whole`."""

    def walk(at: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and at not in whole:
            for name, inner in value.items():
                yield from walk(f"{at}.{name}" if at else str(name), inner)
        else:
            yield at, value

    return dict(walk("", job))


@cache
def _services() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(__file__).with_name("services.json").read_text("utf-8"))
    return told


def _words(service: str) -> Mapping[str, Any]:
    told: Mapping[str, Any] = _services()[service]
    return _words(told["like"]) if "like" in told else told


# ── single values ──


def _by_its_head(path: str, known: Mapping[str, str]) -> str:
    """Why a field below a known one is left (events, usage.tokens); "unknown" for the rest."""
    return known.get(path.partition(".")[0], "unknown")


def _base(model: str, bases: Sequence[Base]) -> str | None:
    """The same model in the catalogue: by our name or by the name of its repository."""
    wanted = _plain(model)
    for base in bases:
        if wanted in {_plain(base.name), *(_plain(source) for source in base.sources.values())}:
            return base.name
    return None


def _plain(name: str) -> str:
    return name.lower().rpartition("/")[2].removesuffix("-reference").removesuffix("-hf")


def _value(ours: str, value: Any) -> Any:
    """Raises PlanError, ValueError, TypeError for what cannot be set."""
    if ours == "learning_rate_multiplier":
        number = float(value)
        if isinstance(value, bool) or not 0 < number <= 1e6:
            raise ValueError(value)
        return number
    if ours == "prompt_loss_weight" and isinstance(value, bool):
        return 1.0 if value else 0.0
    if isinstance(value, bool | list | dict):
        raise TypeError(value)
    if ours == "target_modules":
        value = {"all": "all-linear", "all-linear": "all-linear"}.get(str(value).lower(), value)
    if ours == "lr_scheduler":
        value = str(value).lower()
    return check_settings({ours: str(value)})[ours]


def _seconds(value: Any) -> str | None:
    """A time as Unix seconds: a number, ISO 8601, or "2024-10-29 16:53:53" of China."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(int(value))
        found = datetime.fromisoformat(str(value).strip())
        return str(int((found if found.tzinfo else found.replace(tzinfo=CHINA)).timestamp()))
    except (ValueError, OverflowError):
        return None


def _short(value: Any) -> Any:
    """A value as it can be shown."""
    if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= SHOWN):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
