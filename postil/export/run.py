"""An adapter becomes files for others, and the certificate that they say the same.

export.json    what was made of what: base, adapter, files and their hashes     parity.json    the certificates
README.md      how to use it, in both languages                                 parity.md      the same for people
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

from postil import __version__
from postil.errors import ExportError
from postil.export import gguf, plain
from postil.export.doors import ByTransformers, open_trainer, rounded_trainer
from postil.export.headed import ByHead, open_headed, rounded_headed, write_headed
from postil.export.llamacpp import OfLlama, installed, open_llama
from postil.export.merge import Updates, plan_merge, read_updates
from postil.export.ollama import Turns, write_modelfile
from postil.export.parity import Certificate, Door, Question, Trainer, certify
from postil.export.possible import BY_CLASS, NOT_CHECKED, check_possible
from postil.export.script import write_script
from postil.locales import LANGUAGES, say
from postil.model.adapt import WEIGHTS
from postil.model.labelset import LABELLED, read_labels
from postil.model.load import DTYPES, load_template, stored_dtypes
from postil.model.reader import Reader
from postil.model.template import Template
from postil.records import Adapter, Event, Example, Target
from postil.store import publish, read_json, sha256, temporary_directory, write_json, write_text

Emit = Callable[[Event], None]
DEFAULT_TYPES: Mapping[str, str] = {"gguf": "f16", "gguf-lora": "f16", "ollama": "q8_0"}
DTYPE_OF = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
STORED_AS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}  # the words of safetensors, the coarsest first
BY_TRANSFORMERS, BY_LLAMA = ("merged", "peft", "vllm"), ("gguf", "gguf-lora", "ollama")
NEW_TOKENS = 48


@dataclass(frozen=True)
class Wanted:
    """What an adapter is to become.

    type: number type of the weights (merged: float32, float16, bfloat16; GGUF: f32, f16, bf16, q8_0, ...), None: the
    base's own, or what is usual; name: what others call the model; reference: where they find the base; parts and
    result: of the run, for the script; questions: what the certificate asks; check: whether there is to be one.
    """

    to: Target
    type: str | None = None
    name: str = "model"
    reference: str = ""
    questions: Sequence[Question] = ()
    parts: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    check: bool = True


def export(adapter: Adapter, wanted: Wanted, output: Path, emit: Emit, *, force: bool = False) -> dict[str, Any]:
    """Write what is wanted into the new directory `output` and hold it against the trainer.

    Raises ExportError, among others `export_exists`; AdapterError for an adapter that cannot be made into that.
    """
    started = time.monotonic()
    check_possible(adapter.plan, wanted.to)
    check_wanted(wanted)
    _refuse_to_overwrite(output, force=force)
    job = _Job(adapter, wanted, _template(adapter))
    emit(Event("stage", {"stage": "export", "what": "write", "percent": 0.0}))
    with temporary_directory(output) as made:
        job.write(made)
        files = _hashes(made)
        told = {
            "postil": __version__, "to": wanted.to, "type": job.type, "name": wanted.name,
            "base": {"name": adapter.base, "sha256": adapter.base_sha256, "reference": wanted.reference},
            "adapter_sha256": sha256(adapter.path / WEIGHTS), "system": adapter.plan.system,
            "instruction": adapter.plan.instruction, "files": files,
        }  # fmt: skip
        write_json(made / "export.json", told)
        write_text(made / "README.md", _readme(adapter, wanted, job.notes))
        if output.exists():
            rmtree(output)
        publish(made, output)
    emit(Event("stage", {"stage": "export", "what": "check", "percent": 50.0}))
    parity = _certified(job, output) if wanted.check else _unchecked("skipped")
    write_json(output / "parity.json", parity)
    write_text(output / "parity.md", _shown(parity))
    emit(Event("stage", {"stage": "export", "what": "check", "percent": 100.0}))
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    return {
        "to": wanted.to, "type": job.type, "name": wanted.name, "output": str(output), "files": sorted(files),
        "bytes": size, "notes": job.notes, "seconds": round(time.monotonic() - started, 2), "parity": parity,
    }  # fmt: skip


def check_wanted(wanted: Wanted) -> None:
    """Refuse what cannot be made, before any time is spent. Raises ExportError."""
    if wanted.to == "merged" and wanted.type is not None and wanted.type not in DTYPES:
        raise ExportError("merged_type", type=wanted.type, known=", ".join(DTYPES))
    if wanted.to in ("gguf", "ollama"):
        gguf.check_type(wanted.type or DEFAULT_TYPES[wanted.to])
    if wanted.to == "gguf-lora" and wanted.type not in (None, "f32", "f16"):
        raise ExportError("gguf_type", type=wanted.type, known="f32, f16")
    if wanted.to in ("peft", "script", "vllm") and wanted.type is not None:
        raise ExportError("no_type", to=wanted.to)


def _refuse_to_overwrite(output: Path, *, force: bool) -> None:
    """Only an export of ours is ever removed."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        ours = output.is_dir() and (output / "export.json").is_file()
        if not (force and ours):
            raise ExportError("export_exists" if ours else "directory_not_empty", path=str(output))


def _hashes(made: Path) -> dict[str, str]:
    return {str(file.relative_to(made)).replace("\\", "/"): sha256(file)
            for file in sorted(made.rglob("*")) if file.is_file()}  # fmt: skip


class _Job:
    """One export: what is read once, and written once."""

    def __init__(self, adapter: Adapter, wanted: Wanted, template: Template) -> None:
        self.adapter, self.wanted, self.template = adapter, wanted, template
        self.type = wanted.type or DEFAULT_TYPES.get(wanted.to)
        self.notes: list[str] = []  # commands and the like, for a person
        self.turns: Turns | None = None
        self._updates: Updates | None = None

    @property
    def updates(self) -> Updates:
        if self._updates is None:
            self._updates = read_updates(self.adapter.path)
        return self._updates

    def write(self, made: Path) -> None:
        """The files of the target into the directory `made`."""
        adapter, base, wanted, template = self.adapter, self.adapter.base_path, self.wanted, self.template
        if wanted.to == "merged" and adapter.plan.task in BY_CLASS:
            write_headed(adapter, made, self.asked_type)
        elif wanted.to == "merged":
            planned = plan_merge(base, self.updates, self.type)
            plain.write_whole(planned, base, template, made, self.type)
        elif wanted.to == "peft":
            plain.write_peft(adapter.path, base, template, made, wanted.reference)
        elif wanted.to == "vllm":
            command = plain.write_vllm(adapter.path, base, template, made, wanted.reference, self.updates, wanted.name)
            self.notes.append(" ".join(command))
        elif wanted.to == "script":
            write_script(adapter, template, wanted.parts, wanted.result, made, wanted.reference)
            self.notes.append("python train.py")
        elif wanted.to == "gguf-lora":
            gguf.write_adapter(self.updates, base, made / self.file, self.type or "f16", wanted.name)
        else:
            self._write_gguf(made)

    def _write_gguf(self, made: Path) -> None:
        base, wanted = self.adapter.base_path, self.wanted
        assert self.type is not None
        if wanted.to == "ollama":  # first: it may refuse
            context = int(read_json(base / "config.json").get("max_position_embeddings", 4096))
            self.turns = write_modelfile(made / "Modelfile", self.file, self.template, self.adapter.plan,
                                         min(context, 8192))  # fmt: skip
            self.notes.append(f"ollama create {wanted.name} -f Modelfile")
        planned = plan_merge(base, self.updates, None)
        gguf.write_model(planned, base, self.template, made / self.file, self.type, wanted.name)

    @property
    def file(self) -> str:
        return "adapter.gguf" if self.wanted.to == "gguf-lora" else f"{self.wanted.name}.gguf"

    def write_base(self, file: Path) -> None:
        """The untouched base as GGUF, for an adapter to be put on."""
        planned = plan_merge(self.adapter.base_path, Updates({}, {}, ()), None)
        gguf.write_model(planned, self.adapter.base_path, self.template, file, self.type or "f16", self.adapter.base)

    @property
    def asked_type(self) -> str:
        """The number type that the target was to have, as the certificate names it."""
        if self.wanted.to == "merged" and self.type is None:
            kept = stored_dtypes(self.adapter.base_path)
            return next((name for name, stored in STORED_AS.items() if stored in kept), "float32")
        if self.wanted.to == "merged":
            return self.type or ""
        return DTYPE_OF.get(self.type, self.type) if self.type else self.adapter.plan.dtype


def _template(adapter: Adapter) -> Template:
    plan = adapter.plan
    return load_template(adapter.base_path, thinking=plan.thinking, task=plan.task)


# ── the certificate ───────────────────────────────────────────────────────────────────────────────


def _certified(job: _Job, output: Path) -> dict[str, Any]:
    to = job.wanted.to
    if to == "script":
        return _unchecked("script")
    if job.adapter.plan.task in NOT_CHECKED:
        return _unchecked("no_door", task=job.adapter.plan.task)
    if not job.wanted.questions:
        return _unchecked("no_questions")
    if to in BY_LLAMA and not installed():
        return _unchecked("no_llama")
    return as_json([hold(job.adapter, _opener(job, output), _without_marks(job), job.asked_type)])


def _without_marks(job: _Job) -> Sequence[Question]:
    """The questions of a certificate, as far as they hold no marks: other programs read those as what they are."""
    plain = [question for question in job.wanted.questions if not job.template.count_marks(question)]
    return plain or job.wanted.questions


def hold(adapter: Adapter, opener: Callable[[ExitStack], Door], questions: Sequence[Question], asked: str,
         new: int = NEW_TOKENS) -> Certificate:  # fmt: skip
    """Hold the door that `opener` opens against the trainer of `adapter`."""
    headed = adapter.plan.task in LABELLED
    trainer: Callable[[Adapter], Trainer] = open_headed if headed else open_trainer
    rounded: Callable[[Adapter, str], Trainer] = rounded_headed if headed else rounded_trainer
    with ExitStack() as leave:
        return certify(
            lambda: trainer(adapter), lambda: opener(leave), questions, asked=asked,
            rounded=lambda dtype: rounded(adapter, dtype), new=min(new, adapter.plan.max_new_tokens),
        )  # fmt: skip


def _opener(job: _Job, output: Path) -> Callable[[ExitStack], Door]:
    to, base, plan = job.wanted.to, job.adapter.base_path, job.adapter.plan
    if isinstance(job.template, Reader):
        reader, labels = job.template, read_labels(job.adapter.path)
        return lambda leave: ByHead(output, plan.task, reader, labels, None if to == "merged" else base)
    if to == "merged":
        return lambda leave: ByTransformers(output)
    if to in BY_TRANSFORMERS:
        inner = output / "adapter" if to == "vllm" else output
        return lambda leave: ByTransformers(inner, base, plan.dtype)
    return lambda leave: leave.enter_context(_llama(job, output))


@contextmanager
def _llama(job: _Job, output: Path) -> Iterator[OfLlama]:
    threads = job.adapter.plan.threads
    with ExitStack() as leave:
        model, adapter = output / job.file, None
        if job.wanted.to == "gguf-lora":
            made = leave.enter_context(temporary_directory(output))
            model, adapter = made / "base.gguf", model
            job.write_base(model)
        door = leave.enter_context(open_llama(model, adapter, threads=threads, end=job.template.end_id))
        if job.turns is not None:
            door.render = job.turns.render
        yield door


def as_json(certificates: Sequence[Certificate]) -> dict[str, Any]:
    """All certificates of an export, and what they come to."""
    failed = next((one for one in certificates if one.outcome == "fail"), None)
    return {"outcome": "fail" if failed else "pass", "cause": failed.cause if failed else None,
            "certificates": [one.as_json() for one in certificates],
            "words": {lang: [line for one in certificates for line in one.lines(lang)]
                      for lang in LANGUAGES}}  # fmt: skip


def _unchecked(why: str, **told: str) -> dict[str, Any]:
    return {"outcome": "not_checked", "cause": None, "certificates": [],
            "words": {lang: [say(f"parity.not_checked.{why}", lang, **told)] for lang in LANGUAGES}}  # fmt: skip


def _shown(parity: Mapping[str, Any]) -> str:
    blocks = ["\n".join(f"- {line}" for line in parity["words"][lang]) for lang in LANGUAGES]
    return "# Parity · 一致性\n\n" + "\n\n".join(blocks) + "\n"


def _readme(adapter: Adapter, wanted: Wanted, notes: Sequence[str]) -> str:
    """What a person needs to know who finds this directory."""
    parts = [f"# {wanted.name}"]
    for lang in LANGUAGES:
        parts.append(say(f"export.readme.{wanted.to.replace('-', '_')}", lang, base=adapter.base,
                         reference=wanted.reference, name=wanted.name))  # fmt: skip
        if adapter.plan.system:
            parts.append(say("export.readme.system", lang, system=adapter.plan.system))
        if adapter.plan.instruction:
            parts.append(say("export.readme.instruction", lang, instruction=adapter.plan.instruction))
        if wanted.to != "script":
            parts.append(say("export.readme.marks", lang))
    parts += ["```sh\n" + "\n".join(notes) + "\n```"] if notes else []
    return "\n\n".join(parts) + "\n"
