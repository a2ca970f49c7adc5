"""Judgements over HTTP: a job with a brief that can be edited, and a judge that only the server's owner can choose."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from postil.samples import sample
from postil.settings import Settings
from tests.api.served import BASE, Served, refused, upload
from tests.api.test_ballots import evaluated

WORKBOOK = sample("titles").read_bytes()


def test_a_judgement_is_ordered_with_the_whole_brief(server: Served, http: httpx.Client, key: str) -> None:
    job = evaluated(server, http, key)
    made = http.post("/postil/judgements", json={"job": job, "judge": f"local:{BASE}", "most": 5, "lang": "zh",
                                                 "criteria": "短"}).json()  # fmt: skip
    assert (made["kind"], made["status"]) == ("judgement", "queued")
    row = server.queue.get(server.project(key), made["id"])
    assert row.order["settings"].items() >= {"judge": f"local:{BASE}", "criteria": "短", "kind": "service_qa"}.items()
    assert "{question}" in row.order["settings"]["prompt"] and "只输出" in row.order["settings"]["prompt"]
    lines = http.get(f"/files/{made['file']}/content").text.strip().split("\n")
    assert len(lines) == 5 and json.loads(lines[1])["tuned"] == "tuned 1"
    assert [one["id"] for one in http.get("/postil/judgements").json()["data"]] == [made["id"]]
    refused(http.get(f"/postil/judgements/{made['id']}/rows"), 400, "job_not_evaluated")
    told = upload(http, json.dumps({"rows": [], "judge": "x"}).encode(), "judgement.json", "user_data")
    files = [upload(http, WORKBOOK, "judgement.xlsx", "user_data"), told]
    server.set(made["id"], result_files=files, status="succeeded")
    assert http.get(f"/postil/judgements/{made['id']}/rows").json()["judgement"] == {"rows": [], "judge": "x"}
    assert http.get(f"/postil/tasks/{made['id']}").json()["id"] == made["id"]
    with server.http() as other:
        refused(other.get(f"/postil/judgements/{made['id']}/rows"), 404)
        refused(other.post("/postil/judgements", json={"job": job, "judge": f"local:{BASE}"}), 404)


def test_defaults_for_a_form(http: httpx.Client) -> None:
    told = http.get("/postil/judgements/defaults", params={"kind": "extraction", "lang": "en"}).json()
    assert told["judges"] == [f"local:{BASE}"] and "Exactly" in told["criteria"] and "{a}" in told["prompt"]
    refused(http.get("/postil/judgements/defaults", params={"kind": "odd"}), 400)


@pytest.mark.parametrize(("more", "code"), [
    ({"judge": "local:/etc"}, "model_not_found"), ({"judge": "local:../x"}, "model_not_found"),
    ({"judge": "http://169.254.169.254/"}, "judge_unknown"), ({"judge": "endpoint"}, "judge_not_set"),
    ({"prompt": "which?"}, "judge_prompt_incomplete"),
])  # fmt: skip
def test_attack_18_a_request_names_no_address_and_no_place(
    server: Served, http: httpx.Client, key: str, more: dict[str, Any], code: str
) -> None:
    body = {"job": evaluated(server, http, key), "judge": f"local:{BASE}", **more}
    refused(http.post("/postil/judgements", json=body), 400, code)


def test_attack_17_a_key_in_the_environment_does_not_reach_jobs(
    server: Served, http: httpx.Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTIL_JUDGE_KEY", "sk-hidden")
    settings = Settings(home=server.home, judge_url="https://judge.test/v1", judge_model="m")
    monkeypatch.setattr(server.house, "settings", settings)
    body = {"job": evaluated(server, http, key), "judge": "endpoint"}
    refused(http.post("/postil/judgements", json=body), 400, "judge_needs_key_file")
    monkeypatch.setattr(server.house, "settings", Settings(home=server.home, judge_url="https://judge.test/v1",
                                                           judge_model="m", judge_key_file="/run/key"))  # fmt: skip
    made = http.post("/postil/judgements", json=body).json()
    assert made["status"] == "queued"
    order = server.queue.get(server.project(key), made["id"]).order
    assert "sk-hidden" not in json.dumps(order) and "judge.test" not in json.dumps(order)
    assert "endpoint" in http.get("/postil/judgements/defaults").json()["judges"]
