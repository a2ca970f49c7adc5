"""A server on a machine with a GPU: its jobs go onto the card one after the other, and its engine answers there."""

import json
import threading
import time

import psutil
import pytest

from postil import flow
from postil.jobs import LocalExecutor, Order, Watch
from postil.jobs.local import cards
from postil.model.load import load_base
from postil.serve import Limits, Request, open_engine
from postil.serve.batching import Batch
from postil.store import LOCAL
from tests.jobs import invariants
from tests.jobs.shop import QUICK, SETTINGS, Shop, ended, until
from tests.models import build, titles
from tests.serve.adapters import adapter, by_peft
from tests.serve.test_batching import ask, finish

pytestmark = pytest.mark.gpu
QUESTION = titles(1)[0].question
MEASURED = {name: value for name, value in SETTINGS.items() if name not in ("threads", "micro_batch_tokens")}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return build("qwen2", tmp_path_factory.mktemp("wide"), hidden_size=128)


@pytest.fixture
def shop(wide, tmp_path, monkeypatch):
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    flow.add_base(wide, "wide")
    opened = Shop(tmp_path / "store")
    yield opened
    opened.store.close()


def order(shop):
    """A job whose device, threads and micro-batch are left to what is measured."""
    return shop.queue.create(LOCAL, Order(kind="training", model="wide", training_file=shop.file(), settings=MEASURED))


class Seen:
    """How many jobs ran at once, and the most memory of the machine that one took [bytes, of its own]."""

    def __init__(self, shop):
        self.together, self.own_bytes = 0, 0
        self._shop, self._over = shop, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.is_set():
            rows = self._shop.queue.list(LOCAL, status="running").rows  # at one moment
            running = [row for row in rows if row.claimed]
            self.together = max(self.together, len(running))
            for row in running:
                try:
                    told = json.loads((self._shop.attempt(row, row.attempt) / "process.json").read_text())
                    self.own_bytes = max(self.own_bytes, psutil.Process(told["pid"]).memory_full_info().uss)
                except (OSError, ValueError, psutil.Error):
                    continue
            time.sleep(0.2)


def test_jobs_take_turns_on_the_card_and_the_engine_answers_there(shop):
    assert len(cards()) >= 1
    jobs = [order(shop) for _ in range(len(cards()) + 1)]
    watch = Watch(shop.store, LocalExecutor(shop.store.directory / "jobs"), pace=QUICK)
    seen = Seen(shop)
    watch.start()
    try:
        until(ended(shop, *jobs), 400, str([shop.messages(job) for job in jobs]))
        until(lambda: not watch._runs)
    finally:
        watch.stop(1.0)
        seen.end()
    rows = [shop.get(job) for job in jobs]
    assert {row.status for row in rows} == {"succeeded"}, [shop.messages(job) for job in jobs]
    assert [row.needs["gpus"] for row in rows] == [1] * len(jobs)
    assert {(row.resolved["device"], row.resolved["dtype"]) for row in rows} == {("cuda", "bfloat16")}
    assert seen.together <= len(cards())
    invariants.check(shop)
    print("memory of the machine that a job took:", seen.own_bytes >> 20, "MiB; it was promised", rows[0].needs)
    model = shop.store.models.get(LOCAL, rows[0].fine_tuned_model)
    engine = open_engine(flow.find_base("wide").path)
    try:
        told = engine.generate(Request(QUESTION, shop.store.directory / model.directory, max_tokens=8, temperature=0.0))
        assert told.text and engine.health().device == "cuda"
    finally:
        engine.close()


def test_the_engine_says_on_the_card_what_peft_says(wide, tmp_path):
    voice = adapter(wide, tmp_path / "voice", 1)
    engine = open_engine(wide, dtype="float32")
    try:
        for one in (None, voice):
            told = engine.generate(Request(QUESTION, one, max_tokens=12, temperature=0.0))
            assert told.text == by_peft(wide, one, QUESTION, 12)
        assert engine.health().device == "cuda"
    finally:
        engine.close()


def test_sixteen_voices_in_bfloat16_say_in_one_batch_what_each_says_alone(wide, tmp_path):
    """But for near ties: in numbers of 8 bits the two best are often as near as what the order of a sum changes."""
    voices = [adapter(wide, tmp_path / str(i), i) for i in range(16)]

    def said(some):
        batch = Batch(load_base(wide, device="cuda", dtype="bfloat16"), Limits())
        heard = [ask(batch, adapter=voice)[1] for voice in some]
        finish(batch)
        return [one.told.text for one in heard]

    together, alone = said(voices), [said([voice])[0] for voice in voices]
    same = sum(one == other for one, other in zip(together, alone, strict=True))
    print(same, "of 16 the same")
    assert same >= 12 and len(set(together)) >= 12
