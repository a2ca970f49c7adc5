"""Jobs of other services over HTTP: what cannot be taken is named, and what is taken becomes a job."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.served import BASE, Served, refused, rows, upload
from tests.jobs.described import BAILIAN, OPENAI, TOGETHER


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_parameter", "description"),
        ({"description": []}, "invalid_value", "description"),
        ({"description": {}}, "description_unknown", "description"),
        ({"description": {"data": [OPENAI, OPENAI]}}, "description_of_many", "description"),
        ({"description": {**OPENAI, "method": {"type": "dpo"}}}, "method_not_importable", "description"),
        ({"description": OPENAI, "training_file": "file-none"}, "missing_parameter", "model"),
        ({"description": OPENAI, "training_file": "file-none", "model": BASE}, "file_not_found", "training_file"),
        ({"description": OPENAI, "odd": 1}, "unknown_parameter", "odd"),
    ],
)
def test_what_cannot_be_taken_is_named(http: httpx.Client, body: dict[str, Any], code: str, param: str) -> None:
    refused(http.post("/postil/imports", json=body), 400, code, param)


def test_a_model_that_is_not_there(http: httpx.Client) -> None:
    body = {"description": BAILIAN, "training_file": upload(http), "model": "none"}
    refused(http.post("/postil/imports", json=body), 400, "model_not_found", "model")


def test_a_model_of_the_catalogue_that_is_not_on_this_machine(http: httpx.Client) -> None:
    """It is refused at once, with the command that fetches it, and not by a job that fails."""
    for path, body in (("/postil/imports", {"description": OPENAI, "model": "qwen3-0.6b"}),
                       ("/fine_tuning/jobs", {"model": "qwen3-0.6b"})):  # fmt: skip
        answer = http.post(path, json={**body, "training_file": upload(http)})
        refused(answer, 400, "model_not_here", "model")
        assert "postil models pull qwen3-0.6b" in answer.text


def test_nothing_is_ordered_without_a_file(http: httpx.Client) -> None:
    told = http.post("/postil/imports", json={"description": {"request_id": "r", "output": BAILIAN}}).json()
    assert (told["service"], told["base"], told["job"]) == ("dashscope", "qwen3-14b", None)
    assert {one["theirs"]: one["reason"] for one in told["left"]}["training_file_ids"] == "join_files"
    assert all(one["why"] for one in told["left"])
    assert http.get("/fine_tuning/jobs").json()["data"] == []


def test_a_job_that_is_taken_over(server: Served, http: httpx.Client, key: str) -> None:
    files = {"training_file": upload(http), "validation_file": upload(http, rows(20))}
    body = {"description": OPENAI, "model": BASE, **files}
    told = http.post("/postil/imports", json=body).json()
    job = http.get(f"/fine_tuning/jobs/{told['job']['id']}").json()
    assert job == told["job"]
    assert (job["model"], job["training_file"], job["validation_file"]) == (BASE, *files.values())
    assert (job["hyperparameters"]["n_epochs"], job["seed"]) == (3, 683058546)
    assert job["hyperparameters"]["learning_rate_multiplier"] == 1.8
    assert job["metadata"]["imported_id"] == "ftjob-abc"
    row = server.queue.get(server.project(key), job["id"])
    assert row.order["learning_rate_multiplier"] == 1.8
    assert row.order["settings"]["n_epochs"] == "3"


def test_a_retry_takes_it_over_once(http: httpx.Client) -> None:
    body = {"description": TOGETHER, "model": BASE, "training_file": upload(http)}
    first = http.post("/postil/imports", json=body).json()
    again = http.post("/postil/imports", json=body, headers={"x-stainless-retry-count": "1"}).json()
    assert first == again
    assert len(http.get("/fine_tuning/jobs").json()["data"]) == 1


def test_a_secret_in_a_description_comes_back_hidden(http: httpx.Client) -> None:
    assert "hidden-1" not in http.post("/postil/imports", json={"description": TOGETHER}).text


def test_reading_alone_may_not_take_over(server: Served) -> None:
    with server.http(server.key("read")) as http:
        refused(http.post("/postil/imports", json={"description": OPENAI}), 403, "scope_missing")
