"""A finished run leaves the house: which questions its certificate asks, and what others need to know of it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from postil.bases import NO_SHAPE, open_adapter, plain_name, public_place, template_of
from postil.errors import ExportError
from postil.locales import LANGUAGES, say
from postil.records import Adapter, Base, Event, Example, Message, Target
from postil.remote import check_sealed
from postil.settings import Settings, quiet

if TYPE_CHECKING:
    from postil.export import Facts, Place, Told, Wanted

MOST_QUESTIONS = 8


def export(
    directory: Path,
    to: Target,
    output: Path,
    emit: Callable[[Event], None],
    *,
    type: str | None,
    name: str | None,
    data: Path | None,
    check: bool,
    force: bool,
    push: str | None,
    public: bool,
) -> dict[str, Any]:
    """See `flow.export`."""
    quiet()
    from postil import export as room
    from postil.store import read_json

    adapter = open_adapter(directory)
    wanted = room.Wanted(
        to, type, plain_name(name or directory.resolve().name), public_place(adapter),
        _questions(adapter, data) if check and to != "script" else (),
        _rows(directory) if to == "script" else {},
        read_json(directory / "result.json") if to == "script" and (directory / "result.json").exists() else {},
        check,
    )  # fmt: skip
    if push:  # the hub's own token goes there
        check_sealed(Settings().hub_mirror, "POSTIL_HF_ENDPOINT")
    place = room.read_place(push, public=public, endpoint=Settings().hub_mirror.reveal()) if push else None
    if place:
        room.check_push(to, wanted.reference)
    made = room.export(adapter, wanted, output, emit, force=force)
    return {**made, "pushed": _pushed(adapter, wanted, made, output, place, emit)} if place else made


def _pushed(
    adapter: Adapter, wanted: Wanted, made: Mapping[str, Any], output: Path, place: Place,
    emit: Callable[[Event], None],
) -> dict[str, Any]:  # fmt: skip
    """The files of an export on a hub, with a card in place of its README.md. One that failed its test goes nowhere."""
    from postil import export as room
    from postil.store import write_text

    if made["parity"]["outcome"] == "fail":
        raise ExportError("push_parity", path=str(output))
    emit(Event("stage", {"stage": "export", "what": "push", "percent": 100.0}))
    card = room.write_card(adapter, wanted.to, wanted.reference, _facts(adapter.path), made["parity"], place)
    write_text(output / room.CARD, card)
    return room.upload(output, made["files"], place)


def _facts(directory: Path) -> Facts:
    """What a card tells of the run in `directory`; a published model has no rows beside it."""
    from postil import export as room
    from postil import train as training
    from postil.evaluate import read_evaluation
    from postil.store import read_json

    told = read_json(directory / "plan.json")
    rows = training.read_run(directory).split if (directory / "data").is_dir() else (0, 0, 0)
    result = read_json(directory / "result.json") if (directory / "result.json").exists() else {}
    return room.Facts(told["base"].get("licence") or "", rows, result, read_evaluation(directory))


def pack(directory: Path, archive: Path) -> None:
    """An export as one archive, and the directory no more: each file goes as soon as it is in there."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # weights do not get smaller
        for file in sorted(directory.rglob("*")):
            if file.is_file():
                packed.write(file, f"{archive.stem}/{file.relative_to(directory).as_posix()}")
                file.unlink()
    rmtree(directory)


def parity(directory: Path, data: Path | None) -> dict[str, Any]:
    """See `flow.parity`."""
    quiet()
    from postil import export as room
    from postil.serve import Request, open_engine

    adapter = open_adapter(directory)
    plan = adapter.plan
    template = template_of(Base(adapter.base, NO_SHAPE, path=adapter.base_path), plan.thinking)
    engine = open_engine(adapter.base_path, dtype=plan.dtype, device=plan.device, threads=plan.threads)

    def ask(messages: Sequence[Message], ids: Sequence[int], new: int) -> tuple[list[Told], int, bool]:
        request = Request(messages=tuple(messages), adapter=directory, max_tokens=new, temperature=0.0, logprobs=20,
                          thinking=plan.thinking, prompt_ids=tuple(ids))  # fmt: skip
        reply = engine.generate(request)
        return [(one.text, one.logprob, one.top) for one in reply.tokens], reply.prompt_tokens, reply.finish == "stop"

    try:
        door = room.OfEngine(ask, template, plan.dtype)
        return room.as_json([room.hold(adapter, lambda leave: door, _questions(adapter, data), plan.dtype)])
    finally:
        engine.close()


def _rows(directory: Path) -> dict[str, tuple[Example, ...]]:
    """What the run in `directory` learned from and was watched on, if that lies there: a published model has none."""
    from postil import train as training

    parts = ("training", "validation") if (directory / "data").is_dir() else ()
    return {part: training.examples_of(directory, part) for part in parts}


def _evaluated(adapter: Adapter) -> list[tuple[Message, ...]]:
    """The questions that its evaluation asked."""
    from postil.evaluate import read_evaluation

    found = read_evaluation(adapter.path)
    before = (Message("system", adapter.plan.system),) if adapter.plan.system else ()
    rows = found.rows[:MOST_QUESTIONS] if found else ()
    return [(*before, Message("user", str(row["question"]))) for row in rows]


def _questions(adapter: Adapter, data: Path | None) -> list[tuple[Message, ...]]:
    """What a certificate asks: questions of a file, of the run's own rows, or one of everyday life in each language."""
    from postil import dataset
    from postil import train as training

    plan = adapter.plan
    if data:
        texts = list(dataset.questions(data).questions.values())[:MOST_QUESTIONS]
        return [dataset.ask(text, plan.system, plan.instruction) for text in texts]
    examples: Sequence[Example] = ()
    for part in ("test", "validation", "training") if (adapter.path / "data").is_dir() else ():
        examples = examples or training.examples_of(adapter.path, part)
    asked = [tuple(example.question) for example in examples[:MOST_QUESTIONS]] or _evaluated(adapter)
    return asked or [dataset.ask(say("parity.question", lang), plan.system, plan.instruction) for lang in LANGUAGES]
