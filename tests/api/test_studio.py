"""What OpenAI's API lacks."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.api.served import BASE, Served, refused, rows, upload


def test_check_is_the_command_with_its_options(server: Served, http: httpx.Client) -> None:
    file = upload(http)
    body = {"file": file, "base": BASE, "columns": {"question": "A"}, "system": "--set", "mask": True, "sheet": "S"}
    assert http.post("/postil/check", json=body).json()["examples"] == 3
    command, path, *options = server.asked[-1]
    assert command == "check"
    assert path.endswith("data.jsonl")
    assert options == ["--sheet=S", "--question=A", "--system=--set", "--mask", f"--base={BASE}"]


def test_plan_checks_its_settings_before_anything_runs(server: Served, http: httpx.Client) -> None:
    file = upload(http)
    answer = http.post("/postil/plan", json={"file": file, "base": BASE, "settings": {"r": 4}, "preset": "quick_try"})
    assert answer.status_code == 200
    assert "--set=r=4" in server.asked[-1]
    wrong = http.post("/postil/plan", json={"file": file, "settings": {"odd": 1}})
    refused(wrong, 400, "unknown_field", "settings.odd")


@pytest.mark.parametrize("place", ["/etc", "../x", ".", "https://evil.test/x", "none"])
def test_attack_02_a_base_is_named_and_never_a_place(server: Served, http: httpx.Client, place: str) -> None:
    before = len(server.asked)
    for path in ("check", "plan", "xray"):
        refused(
            http.post(f"/postil/{path}", json={"file": upload(http), "base": place}), 400, "model_not_found", "base"
        )
    assert len(server.asked) == before


def test_fields_presets_and_bases(http: httpx.Client) -> None:
    fields = http.get("/postil/fields", params={"lang": "zh"}).json()["data"]
    assert {"name", "label", "help", "type", "minimum"} <= set(fields[0])
    assert "quick_try" in http.get("/postil/presets").json()["data"]
    assert [base["name"] for base in http.get("/postil/bases").json()["data"] if base["here"]] == [BASE]


def test_an_evaluation_is_a_task_and_no_fine_tuning_job(server: Served, http: httpx.Client, key: str) -> None:
    model, file = server.model(key), upload(http, purpose="evals")
    made = http.post("/postil/evaluations", json={"model": model, "file": file, "metadata": {"a": "b"}}).json()
    assert (made["kind"], made["status"], made["metadata"]) == ("evaluation", "queued", {"a": "b"})
    assert [one["id"] for one in http.get("/postil/evaluations").json()["data"]] == [made["id"]]
    assert http.get(f"/postil/tasks/{made['id']}").json() == made
    refused(http.get(f"/fine_tuning/jobs/{made['id']}"), 404)
    assert not http.get("/fine_tuning/jobs").json()["data"]
    assert http.post(f"/postil/tasks/{made['id']}/cancel").json()["status"] == "cancelled"
    assert http.delete(f"/postil/jobs/{made['id']}").json()["deleted"] is True
    refused(http.get(f"/postil/tasks/{made['id']}"), 404)


def test_a_base_is_not_evaluated(http: httpx.Client) -> None:
    refused(
        http.post("/postil/evaluations", json={"model": BASE, "file": upload(http)}), 400, "model_not_tuned", "model"
    )


def test_base_and_tuned_answer_the_same_question(server: Served, http: httpx.Client, key: str) -> None:
    server.says = lambda request: "tuned" if request.adapter else "base"
    answer = http.post(
        "/postil/comparisons", json={"model": server.model(key, outcome="worse"), "question": "Q"}
    ).json()
    assert (answer["base"]["text"], answer["tuned"]["text"]) == ("base", "tuned")
    base, tuned = server.engines[-1].asked[-2:]
    assert base.messages == tuned.messages
    assert [message.content for message in base.messages] == ["Be brief.", "Answer:Q"]
    assert base.temperature == 0


def events(text: str) -> list[tuple[str, str, dict[str, object]]]:
    found = []
    for block in text.strip().split("\n\n"):
        told = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if told:
            found.append((told["event"], told["id"], json.loads(told["data"])))
    return found


def test_fault_17_a_job_is_told_live_and_taken_up_where_one_was(server: Served, http: httpx.Client, key: str) -> None:
    job = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(http)}).json()["id"]
    http.post(f"/fine_tuning/jobs/{job}/cancel")
    told = events(http.get(f"/postil/jobs/{job}/live").text)
    assert [kind for kind, _, _ in told] == ["event", "event", "event", "state", "end"]
    assert [number for _, number, _ in told] == ["1", "2", "3", "3", "3"]
    with server.http(key, **{"accept-language": "zh"}) as chinese:
        again = events(chinese.get(f"/postil/jobs/{job}/live", headers={"last-event-id": "2"}).text)
    assert [kind for kind, _, _ in again] == ["event", "state", "end"]
    assert "取消" in str(again[0][2]["message"])
    refused(http.get(f"/postil/jobs/{job}/live", headers={"last-event-id": "x"}), 400)


def test_a_training_that_has_nothing_is_not_kept(http: httpx.Client) -> None:
    job = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(http, rows())}).json()["id"]
    refused(http.post(f"/postil/jobs/{job}/keep"), 400, "nothing_to_keep")


def test_a_new_key_is_shown_once_and_is_of_this_project(server: Served, http: httpx.Client, key: str) -> None:
    made = http.post("/postil/keys", json={"name": "bot", "scopes": ["serve"], "requests_per_minute": 5}).json()
    assert server.project(made["secret"]) == server.project(key)
    listed = http.get("/postil/keys").json()["data"]
    assert [one["name"] for one in listed] == ["test", "bot"]
    refused(http.post("/postil/keys", json={"name": "x", "scopes": ["odd"]}), 400, param="scopes[0]")
    with server.http() as other:
        refused(other.delete(f"/postil/keys/{made['id']}"), 404)
