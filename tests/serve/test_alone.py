"""Adapters that cannot answer beside others: in a process of their own, one after the other, as any engine answers."""

import json
import threading

import pytest

from postil.errors import AdapterError, EngineError
from postil.model.adapt import CONFIG, METHODS, attach, config_bytes
from postil.records import Message
from postil.serve import Limits, Request, open_engine
from postil.serve.alone import Alone
from postil.serve.kind import kind_of
from tests.models import opened, plan, titles
from tests.serve.adapters import adapter, by_peft

QUESTION = titles(1)[0].question
TOGETHER = ("lora", "rslora", "lora_plus", "pissa", "olora", "eva")  # methods that leave two matrices a layer, no more


class Heard:
    """What an answer says."""

    def __init__(self, then=lambda piece: None):
        self.text, self.ended, self._then = "", None, then

    def piece(self, piece):
        self.text += piece.text
        self._then(piece)

    def reply(self, reply):
        self.ended = reply

    def error(self, error):
        self.ended = error


@pytest.fixture(scope="module")
def path(base):
    return base("qwen2")


@pytest.fixture(scope="module")
def dora(path, tmp_path_factory):
    return adapter(path, tmp_path_factory.mktemp("dora"), 1, use_dora=True)


@pytest.fixture(scope="module")
def other(path, tmp_path_factory):
    return adapter(path, tmp_path_factory.mktemp("other"), 2, use_dora=True)


@pytest.fixture
def alone(path):
    return Alone(path, Limits(waiting=3), dtype="float32", device="cpu", threads=1)


def asked(adapter, **values):
    return Request(QUESTION, adapter, **{"temperature": 0.0, "max_tokens": 8, **values})


def answered(alone, request, heard=None):
    heard = heard or Heard()
    alone.ask(request, heard)
    alone.step()
    return heard.ended


@pytest.mark.parametrize("values", [
    {"prompt_ids": (1, 2)}, {"tools": ({"type": "function"},)}, {"logprobs": 0}, {"logit_bias": {1: 2.0}},
    {"presence_penalty": 1.0}, {"frequency_penalty": -1.0},
])  # fmt: skip
def test_what_it_cannot_do_is_refused_and_not_ignored(alone, dora, values):
    with pytest.raises(EngineError) as refused:
        alone.ask(asked(dora, **values), Heard())
    assert refused.value.code == "alone_cannot" and refused.value.values["what"] == next(iter(values))


def test_strength_thinking_length_queue(alone, dora, tmp_path):
    with pytest.raises(EngineError) as scale:
        alone.ask(asked(dora, scale=0.5), Heard())
    assert scale.value.code == "alone_scale" and scale.value.values == {"scale": 0.5}
    assert answered(alone, asked(dora, thinking=True)).values == {"what": "enable_thinking"}
    with pytest.raises(EngineError) as long:
        alone.ask(Request((Message("user", "很长" * 3000),), dora), Heard())
    assert long.value.code == "context_too_long" and long.value.values["context"] == 2048
    assert answered(alone, asked(tmp_path)).code == "not_an_adapter"
    for _ in range(3):
        alone.ask(asked(dora), Heard())
    with pytest.raises(EngineError) as full:
        alone.ask(asked(dora), Heard())
    assert full.value.code == "engine_full" and alone.waiting == 3


def test_it_says_what_peft_says_and_at_no_strength_the_base(alone, path, dora, other):
    for one in (dora, other, dora):
        heard = Heard()
        reply = answered(alone, asked(one), heard)
        assert reply.text == heard.text == by_peft(path, one, QUESTION, 8) and alone.paths == (one,)
        assert (reply.finish, reply.completion_tokens) == ("length", 8)
        assert reply.prompt_tokens == len(alone.prompt(asked(one)))
    assert answered(alone, asked(dora, scale=0.0)).text == by_peft(path, None, QUESTION, 8)
    assert alone.bytes > 0
    alone.forget(dora)
    assert (alone.paths, alone.bytes) == ((), 0)


def test_an_adapter_written_anew_is_read_anew(alone, path, tmp_path):
    first = answered(alone, asked(adapter(path, tmp_path, 3, use_dora=True)))
    adapter(path, tmp_path, 4, use_dora=True)
    assert answered(alone, asked(tmp_path)).text == by_peft(path, tmp_path, QUESTION, 8) != first.text


def test_a_seed_draws_the_same_again(alone, dora):
    drawn = [answered(alone, asked(dora, temperature=1.5, seed=seed, max_tokens=20)).text for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_stop_text_ends_it_before_it_is_said(alone, dora):
    whole = answered(alone, asked(dora, max_tokens=20)).text
    stop = whole[4:6]
    heard = Heard()
    reply = answered(alone, asked(dora, max_tokens=20, stop=(stop, "never said")), heard)
    assert reply.text == heard.text == whole[: whole.index(stop)] and reply.finish == "stop"


def test_a_cancelled_answer_ends_between_two_pieces(alone, dora):
    waits, heard = Heard(), Heard()
    now = alone.ask(asked(dora, max_tokens=200), heard)
    later = alone.ask(asked(dora), waits)

    def between():
        now.cancelled = later.cancelled = bool(heard.text)

    alone.between = between
    assert alone.step() and alone.step() is False
    assert heard.ended.finish == "cancelled" and heard.ended.text == heard.text
    assert 0 < heard.ended.completion_tokens < 100
    assert (waits.ended.finish, waits.ended.text) == ("cancelled", "")


def test_one_that_is_larger_than_the_memory_for_adapters(path, dora):
    small = Alone(path, Limits(adapter_bytes=1000), dtype="float32", device="cpu", threads=1)
    with pytest.raises(AdapterError) as large:
        small.hold(dora)
    assert large.value.code == "adapter_too_large"


def test_a_plan_that_is_none(alone, dora, path, tmp_path):
    adapter(path, tmp_path, 1, use_dora=True)
    (tmp_path / "plan.json").write_text('{"plan": {"r": -1}}')
    assert answered(alone, asked(tmp_path)).code == "adapter_misfit"
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(AdapterError) as broken:
        alone.ask(asked(tmp_path), Heard())
    assert broken.value.code == "config_unreadable"


def test_the_kind_of_an_adapter(path, dora, tmp_path):
    assert kind_of(tmp_path / "none").together and not kind_of(dora).together
    plain = adapter(path, tmp_path, 1)
    assert kind_of(plain).together and not kind_of(plain).plain
    for task, together, plainly in (("causal_lm", True, False), ("dpo", True, False), ("pretraining", True, True),
                                    ("seq_cls", False, True), ("token_cls", False, True),
                                    ("seq_2_seq_lm", False, True)):  # fmt: skip
        (plain / "plan.json").write_text(json.dumps({"plan": {"task": task, "method": "lora"}, "n": task}))
        assert (kind_of(plain).together, kind_of(plain).plain) == (together, plainly), task


@pytest.mark.parametrize("method", METHODS)
def test_which_methods_answer_beside_others_is_told_by_what_they_leave(path, tmp_path, method):
    chosen = plan(method=method)
    adapted = attach(opened(path).model, chosen, str(path))
    (tmp_path / CONFIG).write_bytes(config_bytes(adapted))
    (tmp_path / "plan.json").write_text(json.dumps({"plan": chosen.model_dump()}))
    assert kind_of(tmp_path).together == (method in TOGETHER)


@pytest.mark.slow
def test_through_the_engine_beside_those_that_answer_together(path, dora, tmp_path):
    together = adapter(path, tmp_path, 5)
    engine, first = open_engine(path, threads=1), threading.Event()
    long = engine.start(asked(dora, max_tokens=1500), lambda piece: first.set())
    assert first.wait(60)
    long.cancel()
    assert long.result(60).finish == "cancelled"
    assert engine.generate(asked(together)).text == by_peft(path, together, QUESTION, 8)
    assert engine.generate(asked(dora)).text == by_peft(path, dora, QUESTION, 8)
    assert engine.prompt_tokens(asked(dora)) == engine.prompt_tokens(asked(together))
    assert set(engine.health().adapters) == {dora, together}
    engine.evict(dora)
    assert engine.health().adapters == (together,)
    engine.ensure(dora)
    with pytest.raises(EngineError) as refused:
        engine.generate(asked(dora, logprobs=2))
    assert refused.value.code == "alone_cannot"
    engine.close()
