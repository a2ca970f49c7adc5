"""What every engine promises, asked of the twin and of vLLM's: pieces, limits, stops, cancelling, errors."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from postil.errors import AdapterError, EngineError
from postil.records import Message
from postil.serve import Engine, InMemory, Limits, Reply, Request
from postil.serve.launched import Server
from postil.serve.vllm import Vllm
from tests.serve.vllm_server import served


def ask(text="one two three", **values):
    return Request(messages=(Message("user", text),), **values)


@pytest.fixture
def adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.fixture(params=["twin", "vllm"])
def made(request, tmp_path):
    """Makes an engine; what it is told is what the twin is told."""
    with ExitStack() as until_the_end:

        def make(**how):
            if request.param == "twin":
                return InMemory(**how)
            most, context = how.pop("most", 256), how.get("context", 2048)
            server = until_the_end.enter_context(served(InMemory(**how), "/models/base", context=context))
            engine = Vllm(Path("/models/base"), lambda _: Server(server.url, ""), Limits(rows=most, waiting=0))
            until_the_end.callback(engine.close)
            return engine

        yield make


def test_pieces_make_the_answer(adapter, made):
    engine: Engine = made()
    heard = []
    reply = engine.generate(ask("蓝色 dress, new", adapter=adapter), heard.append)
    assert "".join(piece.text for piece in heard) == reply.text == f"{adapter.name}: 蓝色 dress, new"
    assert reply.finish == "stop" and reply.completion_tokens == len(heard) + 1 and not reply.tokens
    assert engine.health().adapters == (adapter,)
    engine.evict(adapter)
    assert engine.health().adapters == ()


def test_limits_and_stops(made):
    engine = made()
    assert engine.generate(ask(max_tokens=2)).text == "one two"
    assert engine.generate(ask(max_tokens=2)).finish == "length"
    stopped = engine.generate(ask(stop=(" three", "x")))
    assert (stopped.text, stopped.finish) == ("one two", "stop")
    assert [token.text for token in engine.generate(ask(logprobs=1)).tokens] == ["one", " two", " three"]


def test_a_cancelled_answer_keeps_what_was_said(made):
    reached, first, go, called = threading.Event(), threading.Event(), threading.Event(), []
    heard = []

    def gate(request):
        called.append(request)
        if len(called) > 1:
            reached.set()
            assert go.wait(10)

    def hear(piece):
        heard.append(piece)
        first.set()

    ended = []
    running = made(gate=gate).start(ask(), hear, lambda one: ended.append(one.result()))
    assert reached.wait(10) and first.wait(10)
    running.cancel()
    go.set()
    reply = running.result(10)
    assert (reply.text, reply.finish) == ("one", "cancelled") and isinstance(reply, Reply)
    assert ended == [reply]


def test_errors_before_and_amid_an_answer(made, tmp_path):
    go = threading.Event()
    engine = made(gate=lambda request: go.wait(10) and None, most=1, context=10)
    with pytest.raises(AdapterError, match="none") as missing:
        engine.start(ask(adapter=tmp_path / "none"))
    assert missing.value.code == "not_an_adapter"
    with pytest.raises(EngineError) as long:
        engine.generate(ask("a b c d e f g h i j k"))
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
        made(gate=broken).generate(ask())
    assert lost.value.code == "engine_lost"
