"""A vLLM server as our engine: what is said to it, what it takes, and what becomes of it. Never with a real one here:
`vllm_server.py` speaks as its documentation says."""

import json
import shlex
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest

from postil.errors import AdapterError, EngineError
from postil.records import Message
from postil.serve import InMemory, Limits, Request, open_engine, opener
from postil.serve.launched import LORA, Launched, Server, arguments
from postil.serve.vllm import Vllm, refusal
from postil.settings import Settings, for_child, for_vllm
from tests.serve.vllm_server import served

ROOT = str(Path(__file__).parents[2])

BASE = "/models/base"
ASK = Request((Message("user", "one two three"),), max_tokens=8, temperature=0.0)


def lora(path, task="causal_lm", **config):
    path.mkdir(exist_ok=True)
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    (path / "adapter_model.safetensors").write_bytes(b"weights")
    (path / "plan.json").write_text(json.dumps({"plan": {"task": task}}))
    return path


@pytest.fixture
def server():
    with served(InMemory(), BASE, key="secret") as made:
        yield made


@pytest.fixture
def engine(server):
    made = Vllm(Path(BASE), lambda _: Server(server.url + "/v1/", "secret"), Limits(rows=4, waiting=4))
    yield made
    made.close()


def asked_of(engine, adapter, **values):
    return engine.generate(Request(ASK.messages, adapter, **values))


def test_what_is_more_than_two_matrices_is_refused_before_vllm_hears_of_it(engine, server, tmp_path):
    for i, (task, config) in enumerate([("causal_lm", {"use_dora": True}), ("causal_lm", {"modules_to_save": ["x"]}),
                                        ("causal_lm", {"peft_type": "PROMPT_TUNING"}), ("seq_cls", {})]):  # fmt: skip
        with pytest.raises(AdapterError) as refused:
            asked_of(engine, lora(tmp_path / str(i), task, **config))
        assert refused.value.code == "vllm_adapter"
    assert "/v1/load_lora_adapter" not in server.asked


def test_what_it_cannot_do_is_refused_and_not_ignored(engine, tmp_path):
    for values in ({"tools": ({"type": "function"},)}, {"scale": 0.5, "adapter": lora(tmp_path)}):
        with pytest.raises(EngineError) as refused:
            engine.start(Request(ASK.messages, **values))
        assert refused.value.code == "vllm_cannot"


def test_an_adapter_is_registered_once_and_anew_when_it_was_written_anew(engine, server, tmp_path):
    adapter = lora(tmp_path / "a")
    for _ in range(2):
        assert asked_of(engine, adapter).text == "a: one two three"
    (first,) = server.asked["/v1/load_lora_adapter"]
    assert first["lora_path"] == str(adapter) and first["lora_name"].startswith("postil-")
    assert asked_of(engine, adapter, scale=0.0).text == "one two three"
    (adapter / "adapter_model.safetensors").write_bytes(b"other weights")
    asked_of(engine, adapter)
    assert list(server.loras) != [first["lora_name"]] and len(server.loras) == 1
    engine.evict(adapter)
    engine.evict(adapter)
    assert not server.loras and engine.health().adapters == ()


def test_adapters_that_vllm_had_before_or_has_lost(engine, server, tmp_path):
    adapter = lora(tmp_path / "a")
    engine.ensure(adapter)
    again = Vllm(Path(BASE), lambda _: Server(server.url, "secret"))
    assert asked_of(again, adapter).text == "a: one two three"
    assert len(server.asked["/v1/load_lora_adapter"]) == 1
    again.close()
    server.loras.clear()
    engine.evict(adapter)  # it is gone: that was wanted
    server.updating = False
    with pytest.raises(EngineError) as closed:
        engine.ensure(adapter)
    assert closed.value.code == "vllm_refuses" and closed.value.values["status"] == 404


def test_what_is_said_to_it(engine, server):
    request = Request(ASK.messages, None, 5, 0.7, 0.9, 3, ("x",), 0.1, 0.2, {7: -1.5}, 2, thinking=True)
    reply = engine.generate(request)
    (body,) = server.asked["/v1/chat/completions"]
    assert body == {
        "model": BASE, "messages": [{"role": "user", "content": "one two three"}], "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "temperature": 0.7, "top_p": 0.9, "top_k": -1, "min_p": 0.0,
        "repetition_penalty": 1.0, "presence_penalty": 0.1, "frequency_penalty": 0.2, "max_tokens": 5, "seed": 3,
        "stop": ["x"], "logit_bias": {"7": -1.5}, "logprobs": True, "top_logprobs": 2,
        "chat_template_kwargs": {"enable_thinking": True},
    }  # fmt: skip
    assert (reply.cached_tokens, reply.prompt_tokens) == (1, engine.prompt_tokens(request))
    assert [token.text for token in reply.tokens] == ["one", " two", " three"] and reply.tokens[0].top


def test_tokens_and_plain_texts_go_on_without_a_dialogue(engine, server, tmp_path):
    assert engine.generate(Request(prompt_ids=(5, 6), logprobs=1, max_tokens=2)).text == "5 6"
    assert asked_of(engine, lora(tmp_path / "book", "pretraining")).text == "book: one two three"
    ids, words = server.asked["/v1/completions"]
    assert ids["prompt"] == [5, 6] and ids["max_tokens"] == 2 and ids["logprobs"] == 1
    assert words["prompt"] == "one two three" and words["max_tokens"] == 2048 - engine.prompt_tokens(ASK)
    assert engine.prompt_tokens(Request(prompt_ids=(1, 2, 3))) == 3


def test_more_than_the_context_holds_is_asked_for_as_much_as_it_holds(engine, server):
    assert engine.generate(Request(ASK.messages, max_tokens=5000)).text == "one two three"
    assert [body["max_tokens"] for body in server.asked["/v1/chat/completions"]] == [5000, 2048 - 6]


def test_a_server_with_another_base_or_key_or_none(server, tmp_path):
    def refused(base, key="secret", url=server.url):
        made = Vllm(Path(base), lambda _: Server(url, key))
        with pytest.raises(EngineError) as error:
            made.generate(ASK)
        assert not made.health().alive
        made.close()
        return error.value

    other = refused("/models/other")
    assert other.code == "vllm_base" and other.values["models"] == BASE and other.values["base"] == "other"
    assert refused(BASE, key="wrong").values["status"] == 401
    assert refused(BASE, url="http://127.0.0.1:9").code == "engine_lost"


def test_a_cancelled_answer_is_given_up_there_too(server, engine):
    go, first, called = threading.Event(), threading.Event(), []

    def gate(request):
        called.append(request)
        assert len(called) < 2 or go.wait(10)

    server.twin._gate = gate
    long = Request((Message("user", "word " * 500),), max_tokens=1000)
    running = engine.start(long, lambda piece: first.set())
    assert first.wait(10)
    running.cancel()
    assert running.result(10).finish == "cancelled"
    go.set()
    assert server.left.wait(10)


def test_what_vllm_says_when_it_refuses():
    for said in (b'{"error": {"message": "no", "code": 400}}', b'{"message": "no", "code": 400}', b"no", b'"no"'):
        assert refusal(400, said).values == {"status": 400, "reason": "no"}
    assert refusal(502, b"").values["reason"] == "-"


# ── one of our own ──


def test_what_the_settings_may_say(monkeypatch, tmp_path):
    assert "VLLM_API_KEY" not in for_child()
    for minutes, seconds in (("", 900.0), ("0.5", 30.0), ("0", 0.0)):
        monkeypatch.setenv("POSTIL_ENGINE_IDLE", minutes)
        ours = opener(Settings())
        assert isinstance(ours, partial) and (ours.func, ours.keywords) == (
            open_engine,
            {"device": "auto", "idle": seconds},
        )
    here = {"POSTIL_ENGINE": "vllm", "POSTIL_VLLM_COMMAND": str(tmp_path)}
    for values, code in (({"POSTIL_ENGINE": "other"}, "engine_unknown"), (here, "vllm_missing"),
                         ({"POSTIL_ENGINE": "vllm"}, "vllm_missing"),
                         ({"POSTIL_ENGINE_DEVICE": "gpu"}, "engine_device_unknown")):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path))
            for name, value in values.items():
                patch.setenv(name, value)
            with pytest.raises(EngineError) as refused:
                opener(Settings())
            assert refused.value.code == code and str(refused.value)
    monkeypatch.setenv("POSTIL_ENGINE", "vllm")
    monkeypatch.setenv("POSTIL_VLLM_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("POSTIL_VLLM_KEY", "secret")
    assert isinstance(opener(Settings())(tmp_path), Vllm)
    assert "secret" not in json.dumps(Settings().as_json()) and "secret" not in for_child().values()
    assert for_vllm("k")["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


def test_the_command_is_a_list_and_the_users_options_come_last():
    told = arguments(["/opt/vllm"], Path("/models/my base; rm"), 81, ["--max-lora-rank", "128"])
    assert told[:3] == ["/opt/vllm", "serve", "/models/my base; rm"] and told[-2:] == ["--max-lora-rank", "128"]
    assert told[told.index("--host") + 1] == "127.0.0.1" and set(LORA) <= set(told)


def test_started_asked_killed_started_again_and_ended(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setenv("POSTIL_ENGINE", "vllm")
    monkeypatch.setenv("POSTIL_VLLM_COMMAND", shlex.join([sys.executable, "-m", "tests.serve.vllm_server"]))
    engine = opener(Settings())(tmp_path)
    adapter = lora(tmp_path / "a")
    assert not engine.health().alive
    assert engine.generate(ASK).text == "one two three" and asked_of(engine, adapter).text == "a: one two three"
    assert engine.health().alive and engine.health().adapters == (adapter,)
    (vllm,) = psutil.Process(engine._server._process.pid).children()
    vllm.kill()
    engine._server._process.wait(20)
    assert asked_of(engine, adapter).text == "a: one two three" and engine.health().restarts == 1
    (vllm,) = psutil.Process(engine._server._process.pid).children()
    engine.close()
    assert not vllm.is_running()
    with pytest.raises(EngineError) as closed:
        engine.generate(ASK)
    assert closed.value.code == "engine_closed"


def test_one_that_does_not_start_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    command = [sys.executable, "-m", "tests.serve.vllm_server"]
    with pytest.raises(EngineError) as failed:
        Launched(command, tmp_path, ["--ends-early"], lambda server: False)
    assert failed.value.code == "engine_start_failed"
    assert failed.value.values["reason"] == "No CUDA GPUs are available"
    with pytest.raises(EngineError) as slow:
        Launched([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, [], lambda server: False, 0.1)
    assert slow.value.code == "engine_start_failed"
