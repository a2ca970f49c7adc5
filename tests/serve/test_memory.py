"""The twin behaves as an engine does: pieces, limits, stops, cancelling, errors."""

import threading

import pytest

from postil.errors import AdapterError, EngineError
from postil.records import Message
from postil.serve import Engine, InMemory, Reply, Request


def ask(text="one two three", **values):
    return Request(messages=(Message("user", text),), **values)


@pytest.fixture
def adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    return tmp_path


def test_pieces_make_the_answer(adapter):
    engine: Engine = InMemory()
    heard = []
    reply = engine.generate(ask("蓝色 dress, new", adapter=adapter), heard.append)
    assert "".join(piece.text for piece in heard) == reply.text == f"{adapter.name}: 蓝色 dress, new"
    assert reply.finish == "stop" and reply.completion_tokens == len(heard) + 1 and not reply.tokens
    assert engine.health().adapters == (adapter,)
    engine.evict(adapter)
    assert engine.health().adapters == ()


def test_limits_and_stops():
    engine = InMemory()
    assert engine.generate(ask(max_tokens=2)).text == "one two"
    assert engine.generate(ask(max_tokens=2)).finish == "length"
    stopped = engine.generate(ask(stop=(" three", "x")))
    assert (stopped.text, stopped.finish) == ("one two", "stop")
    assert [token.text for token in engine.generate(ask(logprobs=1)).tokens] == ["one", " two", " three"]


def test_a_cancelled_answer_keeps_what_was_said():
    reached, go = threading.Event(), threading.Event()
    heard = []

    def gate(request):
        if heard:
            reached.set()
            assert go.wait(10)

    ended = []
    running = InMemory(gate=gate).start(ask(), heard.append, lambda one: ended.append(one.result()))
    assert reached.wait(10)
    running.cancel()
    go.set()
    reply = running.result(10)
    assert (reply.text, reply.finish) == ("one", "cancelled") and isinstance(reply, Reply)
    assert ended == [reply]


def test_errors_before_and_amid_an_answer(tmp_path):
    go = threading.Event()
    engine = InMemory(gate=lambda request: go.wait(10) and None, most=1, context=10)
    with pytest.raises(AdapterError, match="adapter"):
        engine.start(ask(adapter=tmp_path / "none"))
    with pytest.raises(EngineError) as long:
        engine.start(ask("a b c d e f g h i j k"))
    assert long.value.code == "context_too_long"
    running = engine.start(ask())
    with pytest.raises(EngineError) as full:
        engine.start(ask())
    assert full.value.code == "engine_full"
    engine.close()
    go.set()
    with pytest.raises(EngineError) as closed:
        running.result(10)
    assert closed.value.code == "engine_closed"

    def broken(request):
        raise EngineError("engine_lost", reason="killed")

    with pytest.raises(EngineError) as lost:
        InMemory(gate=broken).generate(ask())
    assert lost.value.code == "engine_lost"
