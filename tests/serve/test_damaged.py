"""One damaged adapter must not be felt by anybody but who asked for it: no answer of another changes, none is cut."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from postil import flow
from postil.errors import AdapterError, EngineError, PostilError
from postil.model.adapt import CONFIG, WEIGHTS, read_tensors, to_bytes
from postil.serve import Engine, Limits, Piece, Reply, Request, open_engine
from postil.serve.alone import Alone
from postil.serve.batching import Batch
from postil.serve.kind import kind_of
from postil.serve.voices import Voices
from tests.models import Build, opened, titles
from tests.serve.adapters import adapter
from tests.serve.damage import Damage

QUESTIONS = [example.question for example in titles(4)]


@dataclass
class Heard:
    """What became of a request."""

    pieces: list[str] = field(default_factory=list)
    ended: Reply | PostilError | None = None

    def piece(self, piece: Piece) -> None:
        self.pieces.append(piece.text)

    def reply(self, reply: Reply) -> None:
        assert self.ended is None
        self.ended = reply

    def error(self, error: PostilError) -> None:
        assert self.ended is None
        self.ended = error


def wanted(voice: Path | None, question: int = 0, tokens: int = 8) -> Request:
    return Request(QUESTIONS[question], voice, temperature=0.0, max_tokens=tokens)


def asked(answers: Any, request: Request) -> Heard:
    heard = Heard()
    try:
        answers.ask(request, heard)
    except PostilError as error:
        heard.error(error)
    return heard


@torch.inference_mode()
def answered(answers: Any, request: Request) -> Reply | PostilError:
    heard = asked(answers, request)
    while heard.ended is None:
        answers.step()
    return heard.ended


@pytest.fixture(scope="module")
def path(base: Build) -> Path:
    return base("qwen2")


@pytest.fixture(scope="module")
def voices(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path | None]:
    """Who chats: the base, and adapters of one shape and of another."""
    place = tmp_path_factory.mktemp("voices")
    return [None, *(adapter(path, place / str(i), i, r=4 if i % 2 else 8) for i in range(3))]


@pytest.fixture
def damage(voices: Sequence[Path | None], tmp_path: Path) -> Damage:
    assert voices[2] is not None
    return Damage(voices[2], tmp_path)


class Chat:
    """Eight who chat in one batch, over and over: each hears the same at each time."""

    def __init__(self, batch: Batch, voices: Sequence[Path | None]) -> None:
        self._batch = batch
        self._requests = [wanted(voices[i % 4], i // 2, 5 + i) for i in range(8)]
        self._usual = [answered(batch, request) for request in self._requests]
        self._under_way = [asked(batch, request) for request in self._requests]
        self.rounds = 0

    def look(self) -> None:
        for i, (heard, usual) in enumerate(zip(self._under_way, self._usual, strict=True)):
            if heard.ended is not None:
                assert isinstance(heard.ended, Reply) and isinstance(usual, Reply), heard.ended
                assert heard.ended.text == usual.text == "".join(heard.pieces)
                self._under_way[i] = asked(self._batch, self._requests[i])
                self.rounds += 1


@torch.inference_mode()
def test_attack_31_damaged_adapters_are_felt_by_nobody_else(
    path: Path, voices: Sequence[Path | None], damage: Damage
) -> None:
    """Sixty of them, in the midst of eight chats."""
    batch = Batch(opened(path), Limits(rows=16))
    alone = Alone(path, Limits(), dtype="float32", device="cpu", threads=1)
    chat, codes = Chat(batch, voices), Counter[str]()
    for number in range(60):
        broken, heard = damage.copy(number), Heard()
        try:
            answers = batch if kind_of(broken).together else alone
        except AdapterError as error:
            heard.error(error)
        else:
            heard = asked(answers, wanted(broken, number % 4, 3))
            alone.step()
        while heard.ended is None:
            batch.step()
            chat.look()
        codes[heard.ended.code if isinstance(heard.ended, PostilError) else "answer"] += 1
    assert chat.rounds >= 8
    seen = {"adapter_config", "adapter_not_finite", "bad_safetensors", "adapter_misfit", "config_unreadable", "answer"}
    assert seen <= set(codes), codes


@pytest.mark.full
def test_attack_31_five_hundred_damaged_adapters_and_one_process(
    path: Path, voices: Sequence[Path | None], damage: Damage
) -> None:
    """Over the socket, while eight others chat: no stream is cut, no word changes, the processes are the same."""
    engine = open_engine(path, threads=1, limits=Limits(rows=16))
    requests = [wanted(voices[i % 4], i // 2, 5 + i) for i in range(8)]
    usual = [engine.generate(request).text for request in requests]
    over, wrong, rounds = threading.Event(), [], Counter[int]()

    def chat(i: int) -> None:
        while not over.is_set():
            heard: list[str] = []
            try:
                text = engine.generate(requests[i], partial(_listen, heard)).text
            except PostilError as error:
                wrong.append(repr(error))
                continue
            if text != usual[i] or "".join(heard) != text:
                wrong.append(f"{text!r} {usual[i]!r}")
            rounds[i] += 1

    threads = [threading.Thread(target=chat, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    codes, processes = _call_all(engine, damage, 500)
    over.set()
    for thread in threads:
        thread.join()
    engine.close()
    assert not wrong, wrong[:5]
    assert all(len(found) == 1 for found in processes.values()), processes
    assert min(rounds[i] for i in range(8)) > 20
    assert codes["answer"] < 400 and len(codes) >= 8, codes


def _listen(heard: list[str], piece: Piece) -> None:
    heard.append(piece.text)


def _call_all(engine: Engine, damage: Damage, count: int) -> tuple[Counter[str], dict[bool, set[int]]]:
    codes, processes = Counter[str](), {False: set[int](), True: set[int]()}
    for number in range(count):
        broken = damage.copy(number)
        for _ in range(2):  # each time it is called
            try:
                engine.generate(wanted(broken, number % 4, 3))
                code = "answer"
            except PostilError as error:
                code = error.code
            codes[code] += 1
        for alone, link in engine._links.items():  # type: ignore[attr-defined]
            assert link.alive
            processes[alone].add(link.pid)
    return codes, processes


# ── each of the ways in which one fails ──


def huge(voice: Path, place: Path, number: float) -> Path:
    """An adapter whose numbers are numbers, and that makes none of them."""
    place.mkdir()
    (place / CONFIG).write_bytes((voice / CONFIG).read_bytes())
    tensors = {name: torch.full_like(tensor, number) for name, tensor in read_tensors(voice / WEIGHTS).items()}
    (place / WEIGHTS).write_bytes(to_bytes(tensors))
    return place


@pytest.mark.parametrize("family", ["qwen2", "phi", "gemma3", "llama3"])
@torch.inference_mode()
def test_attack_31_numbers_that_become_none_end_one_answer_alone(base: Build, tmp_path: Path, family: str) -> None:
    """Nothing of them stays in what rows share: those who come later lie where it lay."""
    own = base(family)
    good = [adapter(own, tmp_path / f"good{i}", i) for i in range(2)]
    broken = huge(good[0], tmp_path / "huge", 3e37)
    batch = Batch(opened(own), Limits(rows=8))
    requests = [wanted(voice, i, 40) for i, voice in enumerate((None, *good))]
    usual = [answered(batch, request) for request in requests]
    for _ in range(3):
        heard = [asked(batch, request) for request in requests]
        for _ in range(3):
            batch.step()
        bad = [asked(batch, replace(wanted(broken, 3, 4), temperature=heat)) for heat in (0.0, 1.0)]
        while any(one.ended is None for one in (*heard, *bad)):
            batch.step()
        assert [one.ended for one in bad] == [bad[0].ended, bad[1].ended]
        assert all(isinstance(one.ended, EngineError) and one.ended.code == "answer_not_finite" for one in bad)
        texts = [one.ended.text if isinstance(one.ended, Reply) else one.ended for one in heard]
        assert texts == [one.text if isinstance(one, Reply) else one for one in usual]
    assert batch.running == batch.waiting == 0


@torch.inference_mode()
def test_attack_31_numbers_that_become_none_of_one_that_answers_alone(path: Path, tmp_path: Path) -> None:
    good = adapter(path, tmp_path / "dora", 1, use_dora=True)
    broken = huge(good, tmp_path / "huge", 3e37)
    alone = Alone(path, Limits(), dtype="float32", device="cpu", threads=1)
    usual = answered(alone, wanted(good))
    for heat in (0.0, 1.0):
        failed = answered(alone, replace(wanted(broken), temperature=heat))
        assert isinstance(failed, EngineError) and failed.code == "answer_not_finite"
    again = answered(alone, wanted(good))
    assert isinstance(again, Reply) and isinstance(usual, Reply) and again.text == usual.text


@torch.inference_mode()
def test_attack_31_what_became_none_in_the_midst_of_an_answer_leaves_nothing(
    path: Path, voices: Sequence[Path | None]
) -> None:
    """Rows of a length lie together; what masks weigh with nothing must be a number all the same."""
    batch = Batch(opened(path), Limits())
    usual = [answered(batch, wanted(voice, 3 - i, 30)) for i, voice in enumerate(voices)]
    heard = [asked(batch, wanted(voice, 3 - i, 30)) for i, voice in enumerate(voices)]
    for _ in range(20):
        batch.step()
    row = next(row for row, one in batch._live.items() if one.held and one.held.path == voices[1])
    for key, value in row.cell._layers:
        key[row.place], value[row.place] = float("nan"), float("nan")
    batch.step()
    assert isinstance(heard[1].ended, EngineError) and heard[1].ended.code == "answer_not_finite"
    later = [asked(batch, wanted(voice, 3 - i, 30)) for i, voice in enumerate(voices)]
    others = [heard[i] for i in (0, 2, 3)]
    while any(one.ended is None for one in (*others, *later)):
        batch.step()
    texts = [one.text if isinstance(one, Reply) else "?" for one in usual]
    assert [one.ended.text if isinstance(one.ended, Reply) else one.ended for one in later] == texts
    assert [one.ended.text if isinstance(one.ended, Reply) else one.ended for one in others] == [
        texts[i] for i in (0, 2, 3)
    ]


@torch.inference_mode()
def test_attack_31_a_fault_in_a_step_ends_the_answers_of_that_adapter_alone(
    path: Path, voices: Sequence[Path | None]
) -> None:
    batch = Batch(opened(path), Limits())
    usual = [answered(batch, wanted(voice)) for voice in voices]
    heard = [asked(batch, wanted(voice)) for voice in voices]
    batch.step()
    held = next(one.held for one in batch._live.values() if one.held and one.held.path == voices[2])
    for tables in held.stack.tables.values():
        tables.up = tables.up[:, :-1]  # what no adapter that was read can be, and a fault of ours might make it
        break
    while any(one.ended is None for one in heard):
        batch.step()
    failed = heard[2].ended
    assert isinstance(failed, AdapterError) and failed.code == "adapter_fault"
    for i in (0, 1, 3):
        ended, before = heard[i].ended, usual[i]
        assert isinstance(ended, Reply) and isinstance(before, Reply) and ended.text == before.text


@torch.inference_mode()
def test_attack_31_a_fault_of_nobody_ends_who_came_last(
    path: Path, voices: Sequence[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(opened(path), Limits())
    usual = [answered(batch, wanted(voice)) for voice in voices]
    heard = [asked(batch, wanted(voice)) for voice in voices]
    batch.step()
    speak: Callable[..., None] = batch._decoder._speak  # type: ignore[union-attr]

    def fails(spans: Any) -> None:
        speak(spans)
        if len(spans) == 4:
            raise RuntimeError("no room for four")

    monkeypatch.setattr(batch._decoder, "_speak", fails)
    while any(one.ended is None for one in heard):
        batch.step()
    last = heard[3].ended
    assert isinstance(last, EngineError) and last.code == "answer_failed" and "no room for four" in str(last)
    texts = [one.ended.text if isinstance(one.ended, Reply) else "" for one in heard[:3]]
    assert texts == [one.text if isinstance(one, Reply) else "?" for one in usual[:3]]


@pytest.mark.parametrize("start", [0, 20])
def test_attack_31_adding_a_damaged_adapter_says_what_is_wrong(
    path: Path, damage: Damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """`postil models add` of twenty: each becomes a model, or is refused with a code."""
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    flow.add_base(path, "tiny")
    codes = Counter[str]()
    for number in range(start, start + 20):
        try:
            with flow.adopted(damage.copy(number), "tiny") as (found, _):
                codes[found.base] += 1
        except PostilError as error:
            assert error.cause() and error.remedy()
            codes[error.code] += 1
    assert len(codes) >= 4, codes


def test_an_adapter_that_speaks_has_no_fault(path: Path, voices: Sequence[Path | None]) -> None:
    batch, speaks = Batch(opened(path), Limits()), Voices()
    assert voices[1] is not None
    assert speaks.fault_of(batch.shelf.hold(voices[1])) is None


@pytest.mark.parametrize("values", [
    {"lora_alpha": "x"}, {"lora_alpha": float("nan")}, {"lora_alpha": True}, {"alpha_pattern": [1]}, {"r": True},
    {"alpha_pattern": {"q_proj": "x"}}, {"modules_to_save": 3}, {"target_modules": 7}, {"bias": "some"},
    {"lora_alpha": 1e300}, {"r": 2}, {"rank_pattern": {"q_proj": 2}},
    {"target_modules": ["q_proj", "o_proj"]},
])  # fmt: skip
def test_attack_31_a_config_that_cannot_be_is_refused_with_its_key(
    path: Path, voices: Sequence[Path | None], tmp_path: Path, values: dict[str, Any], lang: str
) -> None:
    from tests.serve.test_shelf import edited

    assert voices[1] is not None
    broken = adapter(path, tmp_path / "a", 1, target_modules=["q_proj", "v_proj"])
    batch = Batch(opened(path), Limits())
    with pytest.raises(AdapterError) as refused:
        batch.hold(edited(broken, **values))
    assert refused.value.code in ("adapter_config", "adapter_misfit", "adapter_rank"), refused.value
    if refused.value.code == "adapter_config":
        assert next(iter(values)) in str(refused.value)
