"""Evaluation sets and corrections over HTTP: what was collected becomes files that jobs can take."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from postil.api import CommandRefused
from postil.store.tables import Model
from tests.api.served import BASE, Served, refused, rows, upload
from tests.story import said


def lines(http: httpx.Client, file: str) -> list[dict[str, Any]]:
    text = http.get(f"/files/{file}/content").content.decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def trained_job(server: Served, http: httpx.Client, key: str, test: bytes | None = None) -> str:
    """A training as it stands when it has succeeded."""
    order = {"model": BASE, "training_file": upload(http), "x_postil": {"instruction": "Answer:"}}
    job = str(http.post("/fine_tuning/jobs", json=order).json()["id"])
    model = server.model(key)
    server.set(job, status="succeeded", fine_tuned_model=model)
    if test is not None:
        row = server.store.models.get(server.project(key), model)
        (server.store.directory / row.directory / "test.jsonl").write_bytes(test)
    return job


# ── evaluation sets ──


def test_a_file_becomes_a_set_that_an_evaluation_takes(server: Served, http: httpx.Client, key: str) -> None:
    sheet = "问题,答案\n" + "".join(f"怎么退货 {i},七天内 {i}\n" for i in range(12))
    file = upload(http, sheet.encode("gb18030"), "售后.csv", "user_data")
    made = http.post("/postil/sets", json={"name": "售后 12 问", "file": file}).json()
    assert (made["source"], made["origin"], made["examples"]) == ("file", file, 12)
    assert lines(http, made["file"])[0] == {
        "messages": [{"role": "user", "content": "怎么退货 0"}, {"role": "assistant", "content": "七天内 0"}]
    }
    assert http.get(f"/postil/sets/{made['id']}").json() == made
    assert [one["id"] for one in http.get("/postil/sets").json()["data"]] == [made["id"]]
    task = http.post("/postil/evaluations", json={"model": server.model(key), "file": made["file"]}).json()
    refused(http.delete(f"/postil/sets/{made['id']}"), 400, "file_in_use")
    http.post(f"/postil/tasks/{task['id']}/cancel")
    assert http.delete(f"/postil/sets/{made['id']}").json()["deleted"] is True
    refused(http.get(f"/files/{made['file']}"), 404)


def test_the_test_part_of_a_job_becomes_a_set(server: Served, http: httpx.Client, key: str) -> None:
    part = b"".join(line.replace(b"}]}", b'}], "rows": [7]}') + b"\n" for line in rows(3).splitlines())
    job = trained_job(server, http, key, part)
    made = http.post("/postil/sets", json={"name": "x", "job": job}).json()
    assert (made["source"], made["examples"]) == ("job", 3)
    assert set(lines(http, made["file"])[0]) == {"messages"}
    refused(http.post("/postil/sets", json={"name": "x", "job": trained_job(server, http, key)}), 400, "no_test_part")


@pytest.mark.parametrize(("more", "param"), [
    ({}, "file"), ({"file": "file-x", "job": "ftjob-x"}, "file"), ({"file": "file-none"}, "file"),
    ({"file": "../../etc/passwd"}, "file"), ({"job": "ftjob-none"}, "job"), ({"job": "../x"}, "job"),
    ({"file": "f", "columns": {"odd": "A"}}, "columns.odd"),
])  # fmt: skip
def test_a_set_needs_one_source_that_is_there(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    refused(http.post("/postil/sets", json={"name": "x", **more}), 400, param=param)


def test_a_set_of_nothing_is_refused(http: httpx.Client) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "x"}).json()["id"]
    refused(http.post("/postil/sets", json={"name": "x", "corrections": owner}), 400, "set_empty")
    refused(http.post("/postil/sets", json={"name": "x", "corrections": "corrset_none"}), 404, "not_found")
    assert http.get("/postil/sets").json()["data"] == []


# ── corrections ──


def test_a_wrong_answer_becomes_a_row_of_the_next_training(server: Served, http: httpx.Client, key: str) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "售后纠错"}).json()["id"]
    path = f"/postil/correction_sets/{owner}"
    with server.http(server.key("serve", project=server.project(key))) as bot:  # a chat window may correct
        body = {"question": "可以退货吗?", "answer": "不行", "right": "七天内可以", "model": server.model(key)}
        one = bot.post(f"{path}/corrections", json={**body, "thumb": "down"}).json()
    assert [m["content"] for m in one["messages"]] == ["Be brief.", "Answer:可以退货吗?"]
    assert one["by"].startswith("key_") and one["thumb"] == "down"
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    http.post(f"{path}/corrections", json={"messages": talk, "answer": "good", "thumb": "up"})
    http.post(f"{path}/corrections", json={"question": "?", "answer": "bad", "thumb": "down"})
    counts = {"rows": 3, "corrected": 1, "up": 1, "down": 2}
    assert http.get(path).json().items() >= counts.items()
    assert http.get("/postil/correction_sets").json()["data"][0].items() >= counts.items()
    made = http.post(f"{path}/file", json={}).json()
    assert (made["purpose"], made["corrections"], made["rows"]) == ("fine-tune", 2, 0)
    assert [row["messages"][-1]["content"] for row in lines(http, made["file"])] == ["七天内可以", "good"]
    assert http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": made["file"]}).status_code == 200
    set_ = http.post("/postil/sets", json={"name": "corrected", "corrections": owner}).json()
    assert (set_["source"], set_["examples"]) == ("corrections", 2)


def test_corrections_take_the_place_of_the_rows_that_they_correct(server: Served, http: httpx.Client, key: str) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "x"}).json()["id"]
    http.post(f"/postil/correction_sets/{owner}/corrections",
              json={"question": "产品 3?", "answer": "连衣裙 3", "right": "雪纺连衣裙"})  # fmt: skip
    for along in ({"with_file": upload(http)}, {"with_job": trained_job(server, http, key)}):
        made = http.post(f"/postil/correction_sets/{owner}/file", json=along).json()
        assert (made["corrections"], made["rows"], made["replaced"]) == (1, 11, 1)
        answers = [row["messages"][-1]["content"] for row in lines(http, made["file"])]
        assert "连衣裙 3" not in answers and answers[-1] == "雪纺连衣裙" and len(answers) == 12
    assert "--instruction=Answer:" in server.asked[-1]
    refused(http.post(f"/postil/correction_sets/{owner}/file", json={"with_file": "file-x"}), 400, param="with_file")


def told_by_commands(server: Served, patch: pytest.MonkeyPatch) -> None:
    """The real commands, in this process."""

    def ask(arguments: Any, seconds: float) -> Any:
        code, out, _ = said([*arguments, "--json"])
        answer = json.loads(out.splitlines()[-1])
        if code:
            raise CommandRefused(answer["error"])
        return answer

    patch.setattr(server.house, "ask", ask)


def test_a_set_knows_its_training_whose_rows_come_along_and_can_be_trained(
    server: Served, http: httpx.Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file holds the origin's rows as they were learned, with what was put right in them; a plan stands on it."""
    told_by_commands(server, monkeypatch)
    sheet = "标题,产品词\n" + "".join(f"{i} 新款 女,连衣裙 {i}\n" for i in range(40))
    file = upload(http, sheet.encode(), "标题.csv", "user_data")
    reading = {"system": "Be brief.", "instruction": "Answer:", "edits": {"B3": "put right before"}, "without": [4]}
    order = {"model": BASE, "training_file": file, "x_postil": reading}
    job = str(http.post("/fine_tuning/jobs", json=order).json()["id"])
    model = server.model(key)
    server.set(job, status="succeeded", fine_tuned_model=model)
    with server.store.database.write() as session:
        session.query(Model).filter_by(id=model).update({"job_id": job})
    heap = http.post("/postil/correction_sets", json={"name": "x"}).json()
    assert heap["origin"] is None
    http.post(
        f"/postil/correction_sets/{heap['id']}/corrections",
        json={"question": "3 新款 女", "answer": "裙", "right": "雪纺连衣裙", "model": model},
    )
    origin = http.get(f"/postil/correction_sets/{heap['id']}").json()["origin"]
    assert origin == job
    made = http.post(f"/postil/correction_sets/{heap['id']}/file", json={"with_job": origin}).json()
    assert (made["corrections"], made["rows"], made["replaced"]) == (1, 38, 1)
    answers = [row["messages"][-1]["content"] for row in lines(http, made["file"])]
    assert "put right before" in answers and "雪纺连衣裙" in answers
    assert "连衣裙 3" not in answers and "连衣裙 2" not in answers  # corrected; left out
    assert {row["messages"][0]["content"] for row in lines(http, made["file"])} == {"Be brief."}
    alone = http.post(f"/postil/correction_sets/{heap['id']}/file", json={}).json()["file"]
    plans = [http.post("/postil/plan", json={"file": name, "measure": False}) for name in (made["file"], alone)]
    assert plans[0].status_code == 200 and plans[0].json()["plan"]["n_epochs"] >= 1
    refused(plans[1], 400, "too_few_examples")


def test_a_correction_is_changed_and_taken_out(http: httpx.Client) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "x"}).json()["id"]
    one = http.post(
        f"/postil/correction_sets/{owner}/corrections", json={"question": "q", "answer": "a", "thumb": "up"}
    )
    path = f"/postil/corrections/{one.json()['id']}"
    changed = http.post(path, json={"right": "b", "thumb": "none"}).json()
    assert (changed["right"], changed["thumb"], changed["note"]) == ("b", None, "")
    assert http.delete(path).json()["deleted"] is True
    refused(http.post(path, json={}), 404, "not_found")
    assert http.get(f"/postil/correction_sets/{owner}/corrections").json()["data"] == []
    assert http.delete(f"/postil/correction_sets/{owner}").json()["deleted"] is True


@pytest.mark.parametrize("body", [
    {"answer": "a"}, {"question": "q", "messages": [{"role": "user", "content": "x"}], "answer": "a"},
    {"messages": [{"role": "assistant", "content": "x"}], "answer": "a"}, {"messages": [], "answer": "a"},
    {"question": "q", "answer": "a", "thumb": "sideways"}, {"question": "q"},
    {"messages": [{"role": "tool", "content": "x"}], "answer": "a"},
])  # fmt: skip
def test_odd_corrections_are_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "x"}).json()["id"]
    refused(http.post(f"/postil/correction_sets/{owner}/corrections", json=body), 400)


def test_the_same_request_twice_is_one_correction(http: httpx.Client) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "x"}).json()["id"]
    for count in ("0", "1"):
        http.post(f"/postil/correction_sets/{owner}/corrections", json={"question": "q", "answer": "a"},
                  headers={"x-stainless-retry-count": count})  # fmt: skip
    assert http.get(f"/postil/correction_sets/{owner}").json()["rows"] == 1


def test_attack_16_sets_and_corrections_of_another_project_do_not_exist(http: httpx.Client, server: Served) -> None:
    owner = http.post("/postil/correction_sets", json={"name": "x"}).json()["id"]
    one = http.post(f"/postil/correction_sets/{owner}/corrections",
                    json={"question": "q", "answer": "a", "right": "b"}).json()["id"]  # fmt: skip
    made = http.post("/postil/sets", json={"name": "x", "corrections": owner}).json()
    with server.http() as other:
        for method, path in (
            ("GET", f"/postil/sets/{made['id']}"), ("DELETE", f"/postil/sets/{made['id']}"),
            ("GET", f"/postil/correction_sets/{owner}"), ("DELETE", f"/postil/correction_sets/{owner}"),
            ("GET", f"/postil/correction_sets/{owner}/corrections"), ("DELETE", f"/postil/corrections/{one}"),
        ):  # fmt: skip
            refused(other.request(method, path), 404, "not_found")
        refused(other.post(f"/postil/corrections/{one}", json={}), 404)
        refused(other.post(f"/postil/correction_sets/{owner}/file", json={}), 404)
        refused(other.post("/postil/sets", json={"name": "x", "corrections": owner}), 404)
        refused(other.get("/postil/sets", params={"after": made["id"]}), 400, "invalid_cursor")
        assert other.get("/postil/sets").json()["data"] == other.get("/postil/correction_sets").json()["data"] == []
    assert http.get(f"/postil/sets/{made['id']}").status_code == 200
