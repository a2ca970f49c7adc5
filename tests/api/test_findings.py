"""What the doctor says of jobs, and its fix in one click."""

from __future__ import annotations

import json
from typing import Any

import httpx

from postil.jobs.ledger import locked, tell, tell_code
from postil.records import Evaluation, Plan, Verdict
from tests.api.served import BASE, Served, refused, upload

PLAN = Plan(learning_rate=1e-3, n_epochs=3)


def job_with(server: Served, http: httpx.Client, losses: list[tuple[float, float]], **values: Any) -> str:
    """A job that told these training and validation losses."""
    order = {"model": BASE, "training_file": upload(http), "metadata": {"shop": "a"},
             "hyperparameters": {"n_epochs": 3}, "x_postil": {"instruction": "Answer:"}}  # fmt: skip
    job = str(http.post("/fine_tuning/jobs", json=order).json()["id"])
    with server.store.database.write() as session:
        row = locked(session, job)
        for step, (training, validation) in enumerate(losses, 1):
            data = {"step": step, "total_steps": 99, "train_loss": training, "valid_loss": validation}
            tell(session, row, "x", type_="metrics", data=data, key=f"metrics:{step}")
    examples = {"training": 200, "validation": 20, "test": 20}
    server.set(job, resolved={**PLAN.model_dump(), "examples": examples}, **values)
    return job


def test_a_running_job_that_goes_astray_is_told_and_mended_in_one_click(server: Served, http: httpx.Client) -> None:
    job = job_with(server, http, [(2.0 + i / 5, 3.0 + i / 5) for i in range(12)], status="running")
    with server.http(http.headers["authorization"].partition(" ")[2], **{"accept-language": "zh"}) as chinese:
        found = chinese.get(f"/postil/jobs/{job}/findings").json()["data"]
    assert [one["code"] for one in found] == ["learning_rate_too_high"] and "学习率" in found[0]["message"]
    assert found[0]["changes"]["learning_rate"] == {"now": 0.001, "then": 0.00033}
    again = http.post(f"/postil/jobs/{job}/again", json={"settings": found[0]["settings"]}).json()
    assert again["id"] != job and again["status"] == "validating_files" and again["metadata"] == {"shop": "a"}
    assert again["x_postil"]["requested"]["again_of"] == job
    row = server.queue.get(server.project(http.headers["authorization"].partition(" ")[2]), again["id"])
    assert row.order["settings"].items() >= {"learning_rate": "0.00033", "n_epochs": "3"}.items()
    assert row.order["reading"] == {"instruction": "Answer:"}


def test_a_healthy_job_has_no_findings(server: Served, http: httpx.Client) -> None:
    job = job_with(server, http, [(3 * 0.9**i, 3 * 0.92**i) for i in range(12)], status="running")
    assert http.get(f"/postil/jobs/{job}/findings").json() == {"object": "list", "data": []}
    waiting = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(http)}).json()["id"]
    assert http.get(f"/postil/jobs/{waiting}/findings").json()["data"] == []


def test_a_failed_job_and_its_events_are_understood(server: Served, http: httpx.Client) -> None:
    told = {"code": "out_of_memory", "postil": "out_of_memory", "message": "x", "param": None, "values": {}}
    job = job_with(server, http, [], status="failed", error=told)
    with server.store.database.write() as session:
        tell_code(session, locked(session, job), "validation_is_training", level="warn")
    found = http.get(f"/postil/jobs/{job}/findings").json()["data"]
    assert [one["code"] for one in found] == ["out_of_memory", "validation_is_training"]
    assert found[0]["settings"] == {"gradient_checkpointing": True, "micro_batch_tokens": 64}


def test_the_proof_of_a_finished_job_counts_and_can_be_read(server: Served, http: httpx.Client, key: str) -> None:
    job = job_with(server, http, [(3 * 0.9**i, 3 * 0.92**i) for i in range(12)])
    refused(http.get(f"/postil/jobs/{job}/evaluation"), 400, "job_not_evaluated")
    model = server.model(key)
    result = {"updates": 12, "validation_loss": {"base": 3.2, "tuned": 1.2}, "learning_rate": 0.001}
    server.set(job, status="succeeded", fine_tuned_model=model, result=result)
    rows = tuple({"rows": [i], "question": str(i), "reference": f"r{i}", "base": str(i), "tuned": "连衣裙",
                  "base_score": 0.0, "tuned_score": 0.0} for i in range(24))  # fmt: skip
    proof = Evaluation({"loss": 2.0}, {"loss": 1.0, "stopped": 1.0},
                       Verdict("no_difference", "char_f1", 0.0, (-0.1, 0.1), 24), 0.5, rows)  # fmt: skip
    directory = server.store.directory / server.store.models.get(server.project(key), model).directory
    (directory / "evaluation.json").write_text(json.dumps(proof.as_json()), "utf-8")
    assert [one["code"] for one in http.get(f"/postil/jobs/{job}/findings").json()["data"]] == [
        "one_answer", "forgetting",
    ]  # fmt: skip
    shown = http.get(f"/postil/jobs/{job}/evaluation").json()
    assert len(shown["rows"]) == 24 and shown["verdict"]["n"] == 24
    http.delete(f"/models/{model}")
    left = http.get(f"/postil/jobs/{job}/findings").json()["data"]
    assert [one["code"] for one in left] == ["still_improving"]


def test_odd_settings_and_jobs_are_refused(server: Served, http: httpx.Client, key: str) -> None:
    job = job_with(server, http, [])
    for settings, param in (({"odd": 1}, "settings.odd"), ({"r": 0}, "settings.r"), ({"r": "x"}, "settings.r")):
        refused(http.post(f"/postil/jobs/{job}/again", json={"settings": settings}), 400, param=param)
    task = http.post("/postil/evaluations", json={"model": server.model(key), "file": upload(http)}).json()["id"]
    for path in ("findings", "again"):
        method = "POST" if path == "again" else "GET"
        refused(http.request(method, f"/postil/jobs/{task}/{path}", json={} if path == "again" else None), 404)
    with server.http() as other:
        refused(other.get(f"/postil/jobs/{job}/findings"), 404)
        refused(other.get(f"/postil/jobs/{job}/evaluation"), 404)
        refused(other.post(f"/postil/jobs/{job}/again", json={}), 404)
