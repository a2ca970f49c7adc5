"""The engine in its process: pieces over the socket, many at once, cancelled, killed, closed."""

import threading
from pathlib import Path

import psutil
import pytest
import torch

from postil.errors import AdapterError, EngineError, ModelError
from postil.records import Message
from postil.serve import Engine, Limits, Piece, Request, Token, open_engine, wire
from tests.models import titles
from tests.serve.adapters import adapter, by_peft

QUESTION = titles(1)[0].question
GREEDY = Request(QUESTION, temperature=0.0, max_tokens=8)


@pytest.fixture(scope="module")
def path(base):
    return base("qwen2")


@pytest.fixture(scope="module")
def voice(path, tmp_path_factory):
    return adapter(path, tmp_path_factory.mktemp("voice"), 1)


@pytest.fixture(scope="module")
def engine(path):
    opened: Engine = open_engine(path, threads=1, limits=Limits(rows=4, waiting=6))
    yield opened
    opened.close()


def endless(**values):
    """A request that ends only at the context's end."""
    return Request(QUESTION, temperature=1.0, seed=3, logit_bias=dict.fromkeys(range(3), -100.0), **values)


def test_answers_and_pieces(engine, path, voice):
    heard = []
    reply = engine.generate(Request(QUESTION, voice, max_tokens=8, temperature=0.0), heard.append)
    assert reply.text == by_peft(path, voice, QUESTION, 8) == "".join(piece.text for piece in heard)
    assert engine.generate(GREEDY).text == by_peft(path, None, QUESTION, 8) != reply.text
    assert reply.prompt_tokens == engine.prompt_tokens(GREEDY) and reply.finish == "length"
    told = engine.health()
    assert told.alive and told.adapters == (voice,) and told.adapter_bytes > 0 and told.memory_bytes > 10**7
    assert (told.base, told.context, told.running, told.waiting) == (path, 2048, 0, 0)
    assert told.device == ("cuda" if torch.cuda.is_available() else "cpu")
    engine.evict(voice)
    assert engine.health().adapters == ()
    engine.ensure(voice)
    engine.ensure(voice)
    assert engine.health().adapters == (voice,)


def test_many_at_once_each_to_its_own(engine, path, voice):
    ended = threading.Semaphore(0)
    running = [
        engine.start(Request(QUESTION, a, max_tokens=n, temperature=0.0), ended=lambda one: ended.release())
        for a, n in ((voice, 3), (None, 5), (voice, 6), (None, 2))
    ]
    assert all(ended.acquire(timeout=60) for _ in running)
    assert [one.result(0).completion_tokens for one in running] == [3, 5, 6, 2]


def test_a_cancelled_answer_ends_at_once(engine):
    first = threading.Event()
    running = engine.start(endless(), lambda piece: first.set())
    assert first.wait(60)
    running.cancel()
    reply = running.result(60)
    running.cancel()
    assert reply.finish == "cancelled" and 0 < reply.completion_tokens < 1500


def test_errors_come_as_they_were_raised(engine, tmp_path):
    with pytest.raises(AdapterError) as none:
        engine.ensure(tmp_path)
    assert none.value.code == "not_an_adapter" and str(tmp_path) in str(none.value)
    with pytest.raises(EngineError) as long:
        engine.generate(Request(prompt_ids=(5,) * 3000))
    assert long.value.code == "context_too_long" and long.value.values == {"tokens": 3000, "context": 2048}
    running = [engine.start(endless()) for _ in range(14)]
    for one in running:
        one.cancel()
    codes = []
    for one in running:
        try:
            one.result(60)
        except EngineError as error:
            codes.append(error.code)
    assert set(codes) <= {"engine_full"}


@pytest.mark.slow
def test_a_killed_process_is_told_and_started_again(path, voice):
    engine, first = open_engine(path, threads=1), threading.Event()
    assert not engine.health().alive
    engine.evict(voice)  # nothing to do, and no process for it
    running = engine.start(endless(adapter=voice), lambda piece: first.set())
    assert first.wait(60)
    process = psutil.Process(engine._links[False].pid)
    process.kill()
    with pytest.raises(EngineError) as lost:
        running.result(60)
    assert lost.value.code == "engine_lost"
    again = engine.generate(Request(QUESTION, voice, max_tokens=8, temperature=0.0))
    assert again.text == by_peft(path, voice, QUESTION, 8) and engine.health().restarts == 1
    broken = engine.start(endless())
    engine.close()
    with pytest.raises(EngineError) as closed:
        broken.result(60)
    assert closed.value.code == "engine_closed"
    with pytest.raises(EngineError):
        engine.generate(GREEDY)
    assert not process.is_running()


@pytest.mark.slow
def test_one_that_nobody_asks_gives_its_memory_back_and_is_there_again_when_asked(path, voice):
    engine = open_engine(path, threads=1)
    assert not engine.rest(0)  # it has not begun
    first, said = threading.Event(), engine.generate(Request(QUESTION, voice, max_tokens=8, temperature=0.0)).text
    process = psutil.Process(engine._links[False].pid)
    assert not engine.rest(60) and engine.health().alive
    running = engine.start(endless(), lambda piece: first.set())
    assert first.wait(60) and not engine.rest(0), "someone waits for an answer"
    running.cancel()
    assert running.result(60).finish == "cancelled"
    engine.health()  # to look is not to use
    assert engine.rest(0) and not process.is_running()
    told = engine.health()
    assert not told.alive and told.memory_bytes == 0 and not engine.rest(0)
    engine.evict(voice)
    again = engine.generate(Request(QUESTION, voice, max_tokens=8, temperature=0.0))
    assert again.text == said and engine.health().restarts == 0
    engine.close()
    assert not engine.rest(0)


@pytest.mark.slow
def test_answers_are_whole_while_it_goes_to_rest_again_and_again(path):
    """Whoever asks just then is answered by the next process."""
    engine, over, rested = open_engine(path, threads=1), threading.Event(), []

    def hurry():
        while not over.is_set():
            rested.append(engine.rest(0.05))

    hurrying = threading.Thread(target=hurry)
    hurrying.start()
    said = set()
    for _ in range(3):
        said.add(engine.generate(GREEDY).text)
        over.wait(0.05)
    over.set()
    hurrying.join()
    engine.close()
    assert said == {by_peft(path, None, QUESTION, 8)} and any(rested)


@pytest.mark.slow
def test_after_a_while_it_rests_by_itself(path):
    engine = open_engine(path, threads=1, idle=0.5)
    engine.generate(GREEDY)
    process = psutil.Process(engine._links[False].pid)
    process.wait(30)
    assert not engine.health().alive and engine.generate(GREEDY).text
    engine.close()


@pytest.mark.slow
def test_a_base_that_cannot_be_loaded(tmp_path):
    engine = open_engine(tmp_path, threads=1)
    with pytest.raises(ModelError) as refused:
        engine.generate(GREEDY)
    assert refused.value.code == "no_config"
    engine.close()


def test_what_goes_over_the_wire_comes_as_it_was():
    request = Request(
        (Message("user", "你好", extra={"name": "a"}), Message("assistant", "x", 0.0)), Path("/a/b"), 3, 0.5, 0.9,
        7, ("停", "b"), 0.1, -0.2, {5: -1.5}, 2, ({"type": "function", "function": {"name": "f"}},), True, (), "p", 1.5,
    )  # fmt: skip
    assert wire.request_of(wire.request_json(request)) == request
    assert wire.request_of(wire.request_json(GREEDY)) == GREEDY
    piece = Piece("好", (Token("好", -0.5, (("好", -0.5), ("不", -1.0))),))
    assert wire.piece_of(wire.as_json(piece)) == piece
    error = AdapterError("adapter_misfit", rows=[3], path="p", reason="r")
    again = wire.error_of(wire.error_json(error))
    assert (type(again), again.code, again.rows, str(again)) == (AdapterError, error.code, (3,), str(error))
