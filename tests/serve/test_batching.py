"""Answers in a mixed batch are those that PEFT gives alone; requests come, go and take turns."""

import math

import pytest
import torch

from postil.errors import AdapterError, EngineError
from postil.serve.batching import Batch
from postil.serve.engine import Limits, Request
from tests.models import CHAT, opened, titles
from tests.serve.adapters import adapter, by_peft, ids_by_peft

QUESTIONS = [example.question for example in titles(4)]
SHAPES = [
    {},
    {"r": 8, "target_modules": ["q_proj", "v_proj"]},
    {"lora_alpha": 32, "use_rslora": True},
    {"rank_pattern": {"q_proj": 6}, "alpha_pattern": {"layers.1.self_attn.v_proj": 3}},
]


class Heard:
    def __init__(self):
        self.pieces, self.tokens, self.told, self.failed = [], [], None, None

    def piece(self, piece):
        self.pieces.append(piece.text)
        self.tokens += piece.tokens

    def reply(self, reply):
        assert self.told is None
        self.told = reply

    def error(self, error):
        self.failed = error


def ask(batch, question=0, **values):
    heard = Heard()
    request = Request(messages=QUESTIONS[question], **{"max_tokens": 12, "temperature": 0.0, **values})
    return batch.ask(request, heard), heard


@torch.inference_mode()
def finish(batch):
    for _ in range(10_000):
        if not batch.step():
            return
    raise AssertionError("it never ends")


@pytest.fixture
def made(tmp_path):
    return lambda base, seed, **config: adapter(base, tmp_path / f"adapter{seed}", seed, **config)


def test_an_adapter_can_speak_more_or_less_strongly(base, made):
    """0 is the base, a half is an adapter with half of its alpha; all strengths in one batch."""
    path = base("qwen2")
    whole, half = made(path, 1, lora_alpha=8), made(path, 1, lora_alpha=4).rename(path.parent / "half")
    whole = made(path, 1, lora_alpha=8)
    batch = Batch(opened(path), Limits())
    heard = [ask(batch, adapter=whole, scale=scale)[1] for scale in (0.0, 0.5, 1.0)]
    finish(batch)
    wanted = [by_peft(path, voice, QUESTIONS[0], 12) for voice in (None, half, whole)]
    assert [one.told.text for one in heard] == wanted
    assert len(set(wanted)) == 3
    assert batch.shelf.paths == (whole,)
    batch.forget(whole)
    assert batch.shelf.paths == () and batch.shelf.bytes == 0


@pytest.mark.parametrize("family", ["qwen2", "llama3", "phi"])
def test_a_mixed_batch_says_what_each_says_alone(base, made, family):
    """Adapters of several shapes and the base, coming in one after the other, some with a beginning read before."""
    path = base(family)
    shapes = SHAPES if family != "phi" else SHAPES[:3]
    voices = [None, *(made(path, i, **shapes[i % len(shapes)]) for i in range(6))]
    batch, asked = Batch(opened(path), Limits()), []
    for i in range(18):
        voice, question = voices[i % 7], i % 4
        asked.append((voice, question, ask(batch, question, adapter=voice)[1]))
        with torch.inference_mode():
            batch.step()
    finish(batch)
    for voice, question, heard in asked:
        assert heard.told.text == by_peft(path, voice, QUESTIONS[question], 12) == "".join(heard.pieces)
    assert len({heard.told.text for *_, heard in asked}) > 12
    assert sum(heard.told.cached_tokens > 16 for *_, heard in asked) >= 6


def test_sixteen_adapters_at_once(base, made):
    path = base("qwen2")
    voices = [made(path, i) for i in range(16)]
    batch = Batch(opened(path), Limits())
    heard = [ask(batch, adapter=voice, max_tokens=6)[1] for voice in voices]
    finish(batch)
    answers = [one.told.text for one in heard]
    assert answers == [by_peft(path, voice, QUESTIONS[0], 6) for voice in voices] and len(set(answers)) == 16


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_a_window_shorter_than_the_context_is_served_row_by_row(base, made, family):
    path = base(family)
    voices = [None, made(path, 1), made(path, 2)]
    batch = Batch(opened(path), Limits())
    heard = [ask(batch, 2, adapter=voice, logprobs=0)[1] for voice in voices]
    finish(batch)
    word = opened(path).tokenizer.decode
    alone = [[word([token]) for token in ids_by_peft(path, voice, QUESTIONS[2], 12)] for voice in voices]
    assert [[token.text for token in one.told.tokens] for one in heard] == alone and alone[0] != alone[1]


def test_the_base_is_untouched_by_adapters_beside_it(base, made):
    path = base("qwen2")
    plain, mixed = Batch(opened(path), Limits()), Batch(opened(path), Limits())
    alone = ask(plain, logprobs=3)[1]
    finish(plain)
    ask(mixed, adapter=made(path, 1))
    beside = ask(mixed, logprobs=3)[1]
    finish(mixed)
    assert beside.told.text == alone.told.text
    assert [t.logprob for t in beside.told.tokens] == pytest.approx([t.logprob for t in alone.told.tokens], abs=1e-5)


def test_a_dialogue_that_goes_on_reads_its_beginning_once(base):
    batch = Batch(opened(base("qwen2")), Limits())
    first, second = (Heard() for _ in range(2))
    batch.ask(Request(CHAT.messages[:2], temperature=0, max_tokens=4), first)
    finish(batch)
    batch.ask(Request(CHAT.messages[:4], temperature=0, max_tokens=4), second)
    finish(batch)
    assert second.told.cached_tokens >= first.told.prompt_tokens - 1 > 16
    again = Batch(opened(base("qwen2")), Limits(prefix_bytes=0))
    plain = Heard()
    again.ask(Request(CHAT.messages[:4], temperature=0, max_tokens=4), plain)
    finish(again)
    assert (plain.told.text, plain.told.cached_tokens) == (second.told.text, 0)


def test_limits_stops_and_log_probabilities(base):
    batch = Batch(opened(base("qwen2")), Limits())
    whole = ask(batch, logprobs=2)[1]
    finish(batch)
    text = whole.told.text
    assert whole.told.finish == "length" and whole.told.completion_tokens == 12 == len(whole.told.tokens)
    assert all(token.top[0][1] == pytest.approx(token.logprob) for token in whole.told.tokens)
    assert all(math.exp(token.logprob) <= 1 and len(token.top) == 2 for token in whole.tokens)
    stop = text[3:5]
    stopped = ask(batch, stop=(stop, "never"))[1]
    cut = ask(batch, max_tokens=1)[1]
    finish(batch)
    assert stopped.told.text == text[: text.index(stop)] == "".join(stopped.pieces) and stopped.told.finish == "stop"
    assert stopped.told.completion_tokens < 12 and cut.told.completion_tokens == 1


def test_seeds_biases_and_penalties(base):
    batch = Batch(opened(base("qwen2")), Limits())
    how = {"temperature": 1.3, "top_p": 0.9}
    one, again, other, unseeded = (ask(batch, seed=seed, **how)[1] for seed in (1, 1, 2, None))
    plain, biased = ask(batch, max_tokens=60)[1], ask(batch, logit_bias={50: 100.0})[1]
    varied = ask(batch, max_tokens=60, frequency_penalty=2.0)[1]
    finish(batch)
    assert one.told == again.told != other.told and unseeded.told.text not in (one.told.text, other.told.text)
    assert biased.told.text != plain.told.text and len(set(biased.told.text)) == 1
    assert varied.told.text != plain.told.text


def test_cancelled_answers_end_before_the_next_token(base):
    batch = Batch(opened(base("qwen2")), Limits(rows=1))
    (running, heard), (waiting, unheard) = ask(batch, max_tokens=None), ask(batch)
    with torch.inference_mode():
        for _ in range(4):
            batch.step()
        running.cancelled = waiting.cancelled = True
        assert not batch.step()
    assert heard.told.finish == unheard.told.finish == "cancelled"
    assert heard.told.completion_tokens == 4 and unheard.told.completion_tokens == 0
    assert batch.running == batch.waiting == 0


def test_projects_take_turns(base):
    batch = Batch(opened(base("qwen2")), Limits(rows=1))
    order = []

    class Noting(Heard):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def reply(self, reply):
            order.append(self.name)

    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        request = Request(QUESTIONS[0], max_tokens=1, project=name[0])
        batch.ask(request, Noting(name))
    finish(batch)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_what_cannot_be_answered_is_said(base, made, tmp_path):
    path = base("qwen2")
    batch = Batch(opened(path), Limits(waiting=2))
    with pytest.raises(EngineError) as long:
        batch.ask(Request(prompt_ids=(5,) * 2048), Heard())
    assert long.value.code == "context_too_long"
    _, missing = ask(batch, adapter=tmp_path / "none")
    _, fine = ask(batch, adapter=made(path, 1))
    with pytest.raises(EngineError) as full:
        ask(batch)
    assert full.value.code == "engine_full"
    finish(batch)
    assert isinstance(missing.failed, AdapterError) and fine.told.finish
    last = Heard()
    batch.ask(Request(prompt_ids=(5,) * 2047), last)
    finish(batch)
    assert last.told.completion_tokens == 1 and last.told.finish in ("length", "stop")


def test_little_memory_is_shared_in_turns(base):
    batch = Batch(opened(base("qwen2")), Limits(text_bytes=1))
    heard = [ask(batch, question, max_tokens=3)[1] for question in (0, 1, 2)]
    most = 0
    with torch.inference_mode():
        batch.step()
        while batch.step():
            most = max(most, batch.running)
    assert all(one.told.completion_tokens for one in heard) and batch.running == 0 and most <= 3


def test_an_adapter_goes_and_comes_back_amid_an_answer(base, made):
    path = base("qwen2")
    voice = made(path, 1)
    batch = Batch(opened(path), Limits())
    heard = ask(batch, adapter=voice)[1]
    with torch.inference_mode():
        for _ in range(3):
            batch.step()
    batch.forget(voice)
    assert batch.shelf.paths == () and batch.shelf.bytes > 0
    made(path, 9).rename(path.parent / "other")
    fresh = ask(batch, adapter=path.parent / "other")[1]
    finish(batch)
    assert heard.told.text == by_peft(path, voice, QUESTIONS[0], 12)
    assert fresh.told.text == by_peft(path, path.parent / "other", QUESTIONS[0], 12)
    assert batch.shelf.bytes == sum(held.bytes for held in batch.shelf._held.values())
    assert batch.shelf.paths == (path.parent / "other",)
