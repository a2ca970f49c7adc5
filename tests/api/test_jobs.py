"""Fine-tuning jobs as OpenAI's client sees them (acceptance 1, 2, 3, 4, 5, 12, 14, 15)."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest

from tests.api.served import BASE, Served, pump, refused, rows, upload


@pytest.fixture
def file(client: openai.OpenAI) -> str:
    return client.files.create(file=("a.jsonl", rows()), purpose="fine-tune").id


def order(file: str, **more: Any) -> dict[str, Any]:
    return {"model": BASE, "training_file": file, **more}


def test_01_a_job_is_whole_for_a_strict_client(server: Served, client: openai.OpenAI, file: str, key: str) -> None:
    job = client.fine_tuning.jobs.create(
        **order(file), suffix="Billing Bot", seed=7, metadata={"team": "账务"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
        integrations=[{"type": "wandb", "wandb": {"project": "p"}}],
        extra_body={"x_postil": {"lora": {"r": 4, "target_modules": "q_proj,v_proj"}, "learning_rate": 0.002,
                                 "checkpoint_every": 5, "priority": 3}},
    )  # fmt: skip
    assert (job.status, job.seed, job.metadata) == ("validating_files", 7, {"team": "账务"})
    assert job.hyperparameters.n_epochs == 2
    assert job.hyperparameters.batch_size == "auto"
    assert job.method
    assert job.method.type == "supervised"
    assert (job.error, job.result_files, job.fine_tuned_model, job.estimated_finish) == (None, [], None, None)
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    assert list(client.fine_tuning.jobs.list()) == [job]
    stored = server.queue.get(server.project(key), job.id)
    assert stored.order["settings"] == {"n_epochs": "2", "r": "4", "target_modules": "q_proj,v_proj",
                                        "learning_rate": "0.002", "save_steps": "5"}  # fmt: skip
    assert stored.priority == 3
    events = list(client.fine_tuning.jobs.list_events(job.id))
    assert [event.message for event in events] == [
        f"Validating training file: {file}", f"Created fine-tuning job: {job.id}",
    ]  # fmt: skip
    checkpoint = server.checkpoint(key, job.id, 10)
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert [(one.id, one.step_number) for one in found] == [(checkpoint.id, 10)]
    assert found[0].fine_tuned_model_checkpoint.endswith(":ckpt-step-10")


def test_02_pages_hold_each_job_once_while_more_are_made(client: openai.OpenAI, file: str) -> None:
    made = [client.fine_tuning.jobs.create(**order(file)).id for _ in range(45)]
    seen = []
    for i, job in enumerate(client.fine_tuning.jobs.list(limit=7)):
        seen.append(job.id)
        if i % 9 == 0:
            client.fine_tuning.jobs.create(**order(file))
    assert seen == made[::-1]


class Cutting:
    """Stands between client and server: passes requests on, and cuts the first answers off."""

    def __init__(self, port: int, cuts: int) -> None:
        self._to, self.cuts, self.seen = port, cuts, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                came, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(came,), daemon=True).start()

    def _pass(self, came: socket.socket) -> None:
        with came, socket.create_connection(("127.0.0.1", self._to)) as to, suppress(OSError):
            threading.Thread(target=pump, args=(came, to), daemon=True).start()
            self.seen += 1
            while answer := to.recv(1 << 16):
                if self.seen <= self.cuts:
                    came.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    came.shutdown(socket.SHUT_RDWR)  # the other thread still reads from it
                    return
                came.sendall(answer)

    def close(self) -> None:
        self._listener.close()


def test_03_three_resets_and_one_job(server: Served, client: openai.OpenAI, file: str, key: str) -> None:
    between = Cutting(server.port, 3)
    host = {"host": f"127.0.0.1:{server.port}"}
    try:
        cut = openai.OpenAI(base_url=f"http://127.0.0.1:{between.port}/v1", api_key=key, max_retries=3,
                            default_headers=host, _strict_response_validation=True)  # fmt: skip
        job = cut.fine_tuning.jobs.create(**order(file))
    finally:
        between.close()
    assert between.seen == 4
    assert [one.id for one in client.fine_tuning.jobs.list()] == [job.id]


def test_04_a_retry_finds_the_first_job_and_another_order_does_not(http: httpx.Client) -> None:
    file = upload(http)
    first = http.post("/fine_tuning/jobs", json=order(file))
    again = http.post("/fine_tuning/jobs", json=order(file), headers={"x-stainless-retry-count": "1"})
    other = http.post("/fine_tuning/jobs", json=order(file, seed=1), headers={"x-stainless-retry-count": "1"})
    plain = http.post("/fine_tuning/jobs", json=order(file), headers={"x-stainless-retry-count": "0"})
    assert again.json() == first.json()
    assert len({first.json()["id"], other.json()["id"], plain.json()["id"]}) == 3


def test_04_a_retried_upload_is_one_file_whatever_its_boundary(http: httpx.Client) -> None:
    sent = [
        http.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"abc")},
                  headers={"x-stainless-retry-count": str(i)}).json()
        for i in range(3)
    ]  # fmt: skip
    assert sent[0] == sent[1] == sent[2]
    assert len(http.get("/files").json()["data"]) == 1


def test_05_an_idempotency_key_replays_and_refuses_another_body(http: httpx.Client) -> None:
    file = upload(http)
    named = {"idempotency-key": "order-1"}
    first = http.post("/fine_tuning/jobs", json=order(file), headers=named)
    again = http.post("/fine_tuning/jobs", json=order(file), headers=named)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    refused(http.post("/fine_tuning/jobs", json=order(file, seed=1), headers=named), 400, "idempotency_key_reused")
    wrong = http.post("/fine_tuning/jobs", json=order("file-none"), headers={"idempotency-key": "order-2"})
    refused(wrong, 400, "file_not_found")
    assert http.post("/fine_tuning/jobs", json=order(file), headers={"idempotency-key": "order-2"}).status_code == 200


@pytest.mark.parametrize("status", ["validating_files", "queued", "running", "paused", "cancelled"])
def test_12_cancel_in_every_state_and_twice(server: Served, client: openai.OpenAI, file: str, status: str) -> None:
    job = client.fine_tuning.jobs.create(**order(file))
    server.set(job.id, status=status)
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    if status != "cancelled":
        assert cancelled.finished_at
    assert client.fine_tuning.jobs.cancel(job.id) == cancelled


@pytest.mark.parametrize("status", ["succeeded", "failed"])
@pytest.mark.parametrize(("action", "code"), [("cancel", "job_already_terminal"), ("pause", "job_not_pausable"),
                                              ("resume", "job_not_resumable")])  # fmt: skip
def test_12_an_ended_job_stays_as_it_is(
    server: Served, http: httpx.Client, status: str, action: str, code: str
) -> None:
    job = http.post("/fine_tuning/jobs", json=order(upload(http))).json()["id"]
    server.set(job, status=status)
    refused(http.post(f"/fine_tuning/jobs/{job}/{action}"), 400, code)
    assert http.get(f"/fine_tuning/jobs/{job}").json()["status"] == status


def test_13_pause_and_resume_of_one_that_waits(server: Served, http: httpx.Client) -> None:
    job = http.post("/fine_tuning/jobs", json=order(upload(http))).json()["id"]
    for action, status in (("pause", "paused"), ("pause", "paused"), ("resume", "validating_files")):
        assert http.post(f"/fine_tuning/jobs/{job}/{action}").json()["status"] == status  # right after it was ordered
    server.set(job, status="queued", resolved={"n_epochs": 1})
    assert http.post(f"/fine_tuning/jobs/{job}/pause").json()["status"] == "paused"
    assert http.post(f"/fine_tuning/jobs/{job}/pause").json()["status"] == "paused"
    assert http.post(f"/fine_tuning/jobs/{job}/resume").json()["status"] == "queued"
    assert http.post(f"/fine_tuning/jobs/{job}/resume").json()["status"] == "queued"


def test_14_deprecated_hyperparameters(client: openai.OpenAI, file: str) -> None:
    job = client.fine_tuning.jobs.create(**order(file), hyperparameters={"n_epochs": 3, "learning_rate_multiplier": 2})
    assert job.method
    assert job.method.supervised
    assert job.method.supervised.hyperparameters
    assert job.method.supervised.hyperparameters.n_epochs == job.hyperparameters.n_epochs == 3
    assert job.hyperparameters.learning_rate_multiplier == 2
    empty = client.fine_tuning.jobs.create(**order(file), hyperparameters={})
    assert empty.hyperparameters.n_epochs == "auto"


def test_14_two_ways_to_say_it_must_agree(http: httpx.Client) -> None:
    file = upload(http)
    new = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    both = order(file, method=new, hyperparameters={"n_epochs": 3})
    refused(http.post("/fine_tuning/jobs", json=both), 400, "conflicting_parameters", "hyperparameters")
    same = order(file, method=new, hyperparameters={"n_epochs": 2})
    assert http.post("/fine_tuning/jobs", json=same).status_code == 200


def test_14_only_the_block_that_type_names_is_read(http: httpx.Client) -> None:
    method = {"type": "supervised", "dpo": {"hyperparameters": {"beta": "odd"}}, "reinforcement": {"grader": 1}}
    assert http.post("/fine_tuning/jobs", json=order(upload(http), method=method)).status_code == 200


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"hyperparameters": {"n_epochs": "3"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 2.5}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 0}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"learning_rate_multiplier": "x"}}, "hyperparameters.learning_rate_multiplier"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": "0.1"}}}}, "method.dpo.hyperparameters.beta"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}}, "method.dpo.hyperparameters.beta"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}},
         "method.supervised.hyperparameters.n_epochs"),
        ({"method": {"type": "odd"}}, "method.type"),
        ({"seed": -1}, "seed"), ({"seed": 2**31}, "seed"), ({"seed": "1"}, "seed"), ({"seed": 10**400}, "seed"),
        ({"suffix": "x" * 65}, "suffix"), ({"suffix": ""}, "suffix"),
        ({"metadata": {"a": 1}}, "metadata.a"), ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"integrations": [{"type": "odd"}]}, "integrations[0].type"),
        ({"model": 1}, "model"), ({"model": "none"}, "model"), ({"model": "../../etc"}, "model"),
        ({"training_file": "file-none"}, "training_file"), ({"training_file": "../x"}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"x_postil": {"odd": 1}}, "x_postil.odd"), ({"x_postil": {"lora": {"r": 0}}}, "x_postil.lora.r"),
        ({"x_postil": {"lora": {"target_modules": "a;b"}}}, "x_postil.lora.target_modules"),
        ({"x_postil": {"max_length": 1}}, "x_postil.max_length"), ({"x_postil": {"preset": "odd"}}, "x_postil.preset"),
        ({"x_postil": {"threads": 0}}, "x_postil.threads"), ({"x_postil": {"device": "cpu"}}, "x_postil.device"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = http.post("/fine_tuning/jobs", json={**order(upload(http, purpose="user_data")), **more})
    refused(answer, 400, param=param)


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"odd": 1}, "unknown_parameter", "odd"),
        ({"method": {"type": "reinforcement"}}, "unsupported_method", "method.type"),
        ({"method": {"type": "dpo"}, "x_postil": {"task": "seq_cls"}}, "conflicting_parameters", "x_postil.task"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}, "x_postil": {"dpo_beta": 0.3}},
            "conflicting_parameters",
            "x_postil.dpo_beta",
        ),
        ({"method": {"type": "reinforcement"}}, "unsupported_method", "method.type"),
        ({"x_postil": {"packing": True}}, "unsupported_parameter", "x_postil.packing"),
        ({"x_postil": {"quantization": "4bit"}}, "unsupported_parameter", "x_postil.quantization"),
    ],
)
def test_18_what_is_not_implemented_is_named(http: httpx.Client, more: dict[str, Any], code: str, param: str) -> None:
    refused(http.post("/fine_tuning/jobs", json=order(upload(http), **more)), 400, code, param)


def test_15_jobs_by_metadata(client: openai.OpenAI, http: httpx.Client, file: str) -> None:
    ours = client.fine_tuning.jobs.create(**order(file), metadata={"k k": "v w", "x": "1"})
    bare = client.fine_tuning.jobs.create(**order(file))
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"k k": "v w"})] == [ours.id]
    assert not list(client.fine_tuning.jobs.list(metadata={"k k": "other"}))
    found = http.get("/fine_tuning/jobs", params={"metadata": "null"}).json()["data"]
    assert [job["id"] for job in found] == [bare.id]
    refused(http.get("/fine_tuning/jobs", params={"metadata[": "x"}), 400, "invalid_value")


def test_states_show_what_belongs_to_them(server: Served, client: openai.OpenAI, file: str) -> None:
    job = client.fine_tuning.jobs.create(**order(file))
    plan = {"n_epochs": 4, "batch_size": 2, "learning_rate": 0.001}
    now = {"step": 3, "total_steps": 9}
    server.set(job.id, status="running", estimated_finish=1795320900, resolved=plan, progress=now)
    running = client.fine_tuning.jobs.retrieve(job.id)
    assert (running.estimated_finish, running.hyperparameters.n_epochs) == (1795320900, 4)
    assert running.hyperparameters.learning_rate_multiplier == 1.0
    assert running.model_extra
    assert running.model_extra["x_postil"]["total_steps"] == 9
    server.set(
        job.id, status="failed", error={"code": "diverged", "message": "m", "param": None}, finished_at=1795321000
    )
    failed = client.fine_tuning.jobs.retrieve(job.id)
    assert failed.error
    assert (failed.error.code, failed.estimated_finish, failed.finished_at) == ("diverged", None, 1795321000)


def test_permissions(server: Served, client: openai.OpenAI, key: str) -> None:
    name = server.model(key)
    made = client.fine_tuning.checkpoints.permissions.create(name, project_ids=["proj_a", "proj_b"])
    assert {one.project_id for one in made} == {"proj_a", "proj_b"}
    found = list(client.fine_tuning.checkpoints.permissions.list(name, limit=1))
    assert len(found) == 2
    gone = client.fine_tuning.checkpoints.permissions.delete(found[0].id, fine_tuned_model_checkpoint=name)
    assert gone.deleted
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.checkpoints.permissions.delete(found[0].id, fine_tuned_model_checkpoint=name)
    server.model(other := server.key(project="proj_a"))
    assert name not in [model.id for model in server.openai(other).models.list()] or found[0].project_id != "proj_a"


def test_preference_tuning_as_openai_orders_it(server: Served, client: openai.OpenAI, key: str) -> None:
    """Their format of rows is accepted, and their method becomes our task with its beta."""
    line = {"input": {"messages": [{"role": "user", "content": "标题"}], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [{"role": "assistant", "content": "连衣裙"}],
            "non_preferred_output": [{"role": "assistant", "content": "裙子啊"}]}  # fmt: skip
    file = client.files.create(file=("p.jsonl", (json.dumps(line) + "\n").encode() * 12), purpose="fine-tune")
    assert client.files.retrieve(file.id).status == "processed"
    told = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2, "batch_size": "auto"}}}
    job = client.fine_tuning.jobs.create(**order(file.id), method=told)  # type: ignore[arg-type]
    assert job.method
    assert (job.method.type, job.method.supervised, job.hyperparameters.n_epochs) == ("dpo", None, 2)
    assert job.method.dpo
    assert job.method.dpo.hyperparameters
    assert job.method.dpo.hyperparameters.beta == 0.2
    stored = server.queue.get(server.project(key), job.id)
    assert stored.order["settings"] == {"n_epochs": "2", "task": "dpo", "dpo_beta": "0.2"}
    plain = client.fine_tuning.jobs.create(**order(file.id), method={"type": "dpo"})
    assert plain.method
    assert plain.method.dpo
    assert plain.method.dpo.hyperparameters
    assert plain.method.dpo.hyperparameters.beta == "auto"
