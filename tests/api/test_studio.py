"""What OpenAI's API lacks."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from postil.api.asking import CommandRefused, ask
from postil.locales import say
from postil.store.tables import Job
from tests.api.served import BASE, Served, refused, rows, upload


def test_check_is_the_command_with_its_options(server: Served, http: httpx.Client) -> None:
    file = upload(http)
    body = {"file": file, "base": BASE, "columns": {"question": "A"}, "system": "--set", "mask": True, "sheet": "S"}
    assert http.post("/postil/check", json=body).json()["examples"] == 3
    command, path, *options = server.asked[-1]
    assert command == "check"
    assert path.endswith("data.jsonl")
    kept = f"--keep={Path(path).parent}"
    assert options == ["--sheet=S", "--question=A", "--system=--set", "--mask", f"--base={BASE}", kept]


def test_no_command_line_is_spoken_of_to_clients(tmp_path: Path, lang: str) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("x,y,z\n" + "".join(f"{n},{n * n},{n % 3}\n" for n in range(30)))
    with pytest.raises(CommandRefused) as error:
        ask(["check", str(file)], 60.0)
    assert error.value.code == "no_columns" and "--" not in error.value.message
    assert error.value.remedy == say("served.error.no_columns.remedy", lang)


def test_a_file_is_checked_once_in_each_language(server: Served, http: httpx.Client) -> None:
    """A page that is loaded again, or by somebody else, does not wait for the same words."""
    body = {"file": upload(http, b'{"question": "only here?", "answer": "yes"}\n'), "mask": True}
    before = len(server.asked)
    told = http.post("/postil/check", json=body).json()
    assert http.post("/postil/check", json=body).json() == told and len(server.asked) == before + 1
    http.post("/postil/check", json=body, headers={"accept-language": "zh-CN"})
    assert len(server.asked) == before + 2
    http.post("/postil/check", json={**body, "mask": False})
    assert len(server.asked) == before + 3
    http.post("/postil/check", json={**body, "base": BASE})  # a base may be another one tomorrow
    http.post("/postil/check", json={**body, "base": BASE})
    assert len(server.asked) == before + 5


def test_an_xray_sees_what_training_sees(server: Served, http: httpx.Client) -> None:
    http.post("/postil/xray", json={"file": upload(http), "base": BASE, "mask": True, "columns": {"answer": "B"}})
    assert {"--mask", "--answer=B"} <= set(server.asked[-1])


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


def test_an_evaluation_takes_corrections_and_a_sheet_to_be_filled_none(
    server: Served, http: httpx.Client, key: str
) -> None:
    body = {"model": server.model(key), "file": upload(http, purpose="evals"), "without": [3], "edits": {"1:x": "y"}}
    made = http.post("/postil/evaluations", json=body).json()
    with server.store.database.read() as session:
        assert session.query(Job).filter_by(id=made["id"]).one().order["reading"] == {
            "without": [3], "edits": {"1:x": "y"}
        }  # fmt: skip
    refused(http.post("/postil/answers", json=body), 400, "unsupported_parameter", "edits")


def test_a_base_is_not_evaluated(http: httpx.Client) -> None:
    refused(
        http.post("/postil/evaluations", json={"model": BASE, "file": upload(http)}), 400, "model_not_tuned", "model"
    )


def test_base_and_tuned_answer_the_same_question(server: Served, http: httpx.Client, key: str) -> None:
    server.says = lambda request: "tuned" if request.scale else "base"
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


def test_corrections_go_to_the_command_as_a_file_beside_the_data(server: Served, http: httpx.Client) -> None:
    seen: list[dict[str, object]] = []

    def ask(arguments: list[str], seconds: float) -> dict[str, object]:
        place = next(one for one in arguments if one.startswith("--edits=")).removeprefix("--edits=")
        seen.append(json.loads(Path(place).read_text("utf-8")))
        return {}

    body = {"file": upload(http), "edits": {"1:messages.2.content": "好"}, "without": [3], "columns": {"system": "S"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.house, "ask", ask)
        for path in ("check", "plan", "xray"):
            assert http.post(f"/postil/{path}", json=body).status_code == 200
    assert seen == [{"edits": {"1:messages.2.content": "好"}, "without": [3]}] * 3
    assert http.post("/postil/check", json={"file": body["file"], "fix": ["all", "html_left"]}).status_code == 200
    assert server.asked[-1][-2:] == ["--fix=all", "--fix=html_left"]
    refused(http.post("/postil/check", json={**body, "fix": ["nonsense"]}), 400, "invalid_value", "fix")
    refused(http.post("/postil/check", json={**body, "system": "x"}), 400, "conflicting_parameters", "system")
    refused(http.post("/postil/check", json={**body, "without": [0]}), 400, "invalid_value", "without[0]")
    refused(http.post("/postil/check", json={**body, "edits": {"B7": 1}}), 400, "invalid_value")


def test_a_training_takes_the_same_corrections(server: Served, http: httpx.Client) -> None:
    vendor = {"edits": {"1:messages.2.content": "好"}, "without": [3]}
    order = {"model": BASE, "training_file": upload(http), "x_postil": vendor}
    job = http.post("/fine_tuning/jobs", json=order).json()
    with server.store.database.read() as session:
        row = session.query(Job).filter_by(id=job["id"]).one()
    assert row.order["reading"] == vendor
    assert job["x_postil"]["requested"] == {"corrections": {"edits": 1, "without": 1}}


def test_an_export_is_a_task_of_a_tuned_model(server: Served, http: httpx.Client, key: str) -> None:
    model = server.model(key)
    made = http.post("/postil/exports", json={"model": model, "to": "gguf", "type": "q8_0"}).json()
    assert (made["kind"], made["status"], made["model"], made["file"]) == ("export", "queued", model, "")
    assert [one["id"] for one in http.get("/postil/exports").json()["data"]] == [made["id"]]
    assert http.get(f"/postil/tasks/{made['id']}").json() == made
    assert http.post(f"/postil/tasks/{made['id']}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize("wrong", [{"to": "pickle"}, {"type": "../x"}, {"name": "../x"}, {"model": BASE}, {"odd": 1}])
def test_an_export_that_cannot_be_is_refused(
    server: Served, http: httpx.Client, key: str, wrong: dict[str, object]
) -> None:  # fmt: skip
    body = {"model": server.model(key), "to": "merged", **wrong}
    answer = http.post("/postil/exports", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == next(iter(wrong))
