"""A model's card says where it came from; notes and reports stand beside it."""

from __future__ import annotations

import json

import httpx

from postil.store.tables import Model
from tests.api.served import BASE, Served, refused, upload


def test_a_card_tells_the_whole_lineage(server: Served, http: httpx.Client, key: str) -> None:
    model, file = server.model(key), upload(http)
    job = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": file, "seed": 5}).json()["id"]
    result = {"updates": 75, "seconds": 9.5, "forgetting": 0.02, "verdict": {"outcome": "better"}}
    server.set(job, status="succeeded", fine_tuned_model=model, result=result, trained_tokens=900,
               resolved={"n_epochs": 3, "examples": {"training": 10, "validation": 1, "test": 1}})  # fmt: skip
    with server.store.database.write() as session:
        session.query(Model).filter_by(id=model).update({"job_id": job})
    task = http.post("/postil/evaluations", json={"model": model, "file": upload(http, purpose="evals")}).json()["id"]
    more = http.post("/fine_tuning/jobs", json={"model": model, "training_file": file}).json()["id"]
    http.post("/postil/lines/faq", json={"model": model})
    http.post("/postil/models/note", json={"model": model, "text": "<img onerror=alert(1)> 语气好"})
    card = http.get("/postil/models/card", params={"model": model}).json()
    assert (card["model"], card["base"], card["live"], card["lines"]) == (model, BASE, True, ["line:faq"])
    assert card["job"]["id"] == job and card["job"]["started_from"] == BASE and card["job"]["seed"] == 5
    assert card["job"]["training_file"].items() >= {"id": file, "here": True, "filename": "train.jsonl"}.items()
    assert (card["job"]["examples"]["training"], card["job"]["updates"], card["forgetting"]) == (10, 75, 0.02)
    assert [one["id"] for one in card["evaluations"]] == [task]
    assert [one["id"] for one in card["trained_from_it"]] == [more]
    assert card["note"]["text"] == "<img onerror=alert(1)> 语气好" and card["note"]["by"].startswith("key_")
    assert card["plan"]["max_new_tokens"] == 8 and card["system"] == "Be brief."
    http.delete(f"/postil/jobs/{job}")
    http.post(f"/fine_tuning/jobs/{more}/cancel")
    http.delete(f"/files/{file}")
    assert http.get("/postil/models/card", params={"model": model}).json()["job"] is None


def test_a_report_is_shown_and_may_run_nothing(server: Served, http: httpx.Client, key: str) -> None:
    model = server.model(key)
    refused(http.get("/postil/models/report", params={"model": model}), 404, "report_missing")
    row = server.store.models.get(server.project(key), model)
    (server.store.directory / row.directory / "report.html").write_text("<h1>报告</h1>", "utf-8")
    answer = http.get("/postil/models/report", params={"model": model})
    assert answer.text == "<h1>报告</h1>" and answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy
    assert http.get("/postil/models/card", params={"model": model}).json()["report"] is True
    refused(http.get("/postil/models/report", params={"model": model, "form": "../plan.json"}), 400)


def test_attack_16_a_card_of_another_project_does_not_exist(server: Served, http: httpx.Client, key: str) -> None:
    model = server.model(key)
    with server.http() as other:
        for path in ("card", "note", "report"):
            refused(other.get(f"/postil/models/{path}", params={"model": model}), 404, "model_not_found")
        refused(other.post("/postil/models/note", json={"model": model, "text": "x"}), 404)
    for odd in ("../../etc", "", "x" * 255):
        refused(http.get("/postil/models/card", params={"model": odd}), 404)
    assert json.loads(http.get("/postil/models/note", params={"model": model}).text)["text"] == ""


def test_a_note_that_somebody_wrote_meanwhile_is_not_written_over(server: Served, http: httpx.Client, key: str) -> None:
    model = server.model(key)
    seen = http.get("/postil/models/note", params={"model": model}).json()["version"]
    hers = http.post("/postil/models/note", json={"model": model, "text": "她的", "version": seen}).json()
    refused(
        http.post("/postil/models/note", json={"model": model, "text": "我的", "version": seen}),
        400,
        "stale_version",
        "version",
    )
    assert http.get("/postil/models/note", params={"model": model}).json()["text"] == "她的"
    both = {"model": model, "text": "她的，我的", "version": hers["version"]}
    assert http.post("/postil/models/note", json=both).json()["text"] == "她的，我的"
