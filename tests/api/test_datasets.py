"""Data sets over HTTP: looked at window by window, marked, compared, and kept in versions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import openpyxl
import pytest

from postil.store import new_id
from tests.api.served import BASE, Served, refused, upload
from tests.story import told

ROWS = "问题,答案\n" + "".join(f"第{i}个问题？,第{i}个答案。\n" for i in range(20)) + "没有答案？,\n坏了？,<p>修</p>\n"


@pytest.fixture
def asked(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The real commands, in this process; the list has their names."""
    names: list[str] = []

    def counted(arguments: Any, seconds: float) -> Any:
        names.append(arguments[0])
        return told(arguments)

    monkeypatch.setattr(server.house, "ask", counted)
    yield names


@pytest.fixture
def file(http: httpx.Client) -> str:
    return upload(
        http, ROWS.replace("答案。", f"答案{new_id('')[:6]}。").encode(), "客服.csv"
    )  # nobody has looked at it


def test_the_next_window_reads_nothing_again(http: httpx.Client, file: str, asked: list[str]) -> None:
    first = http.post("/postil/preview", json={"file": file, "limit": 2}).json()
    assert (first["total"], first["checked"], [row["number"] for row in first["rows"]]) == (23, False, [1, 2])
    body = {"file": file, "check": True, "offset": 21, "limit": 5}
    second = http.post("/postil/preview", json=body).json()
    assert [row["state"] for row in second["rows"]] == ["dropped", "used"] and second["header_row"] == 1
    assert second["rows"][0]["issues"][0]["action"] == {"kind": "leave_out", "rows": [22]}
    assert asked == ["look", "check"]
    third = http.post("/postil/preview", json={"file": file, "only": "issues"}).json()
    assert [row["number"] for row in third["rows"]] == [22, 23] and asked == ["look", "check"]
    put_right = {**body, "edits": {"B22": "有。"}}
    assert http.post("/postil/preview", json=put_right).json()["rows"][0]["cells"][1]["text"] == "有。"
    assert asked == ["look", "check", "check"]


def test_a_check_keeps_what_it_found_and_a_deleted_file_takes_it_along(
    server: Served, http: httpx.Client, file: str, asked: list[str]
) -> None:
    found = http.post("/postil/check", json={"file": file}).json()
    assert found["kind"]["value"] == "service_qa" and found["kind"]["reason"] and found["gauge"]["state"] == "few"
    assert found["gauge"]["advised"] == [500, 1000] and found["corrections"] == {
        "edits": {},
        "without": [],
        "mask": False,
    }
    http.post("/postil/preview", json={"file": file, "check": True})
    assert asked == ["check", "look"]
    looks = server.store.directory / "looks"
    assert len(list(looks.iterdir())) >= 2
    before = set(looks.iterdir())
    http.delete(f"/files/{file}")
    assert len(set(looks.iterdir())) == len(before) - 3


def test_what_is_kept_and_broken_is_made_again(server: Served, http: httpx.Client, file: str, asked: list[str]) -> None:
    http.post("/postil/preview", json={"file": file})
    for path in (server.store.directory / "looks").iterdir():
        path.write_bytes(b"broken")
    assert http.post("/postil/preview", json={"file": file}).json()["total"] == 23
    assert asked == ["look", "look"]


def test_rows_with_problems_need_a_check(http: httpx.Client, file: str, asked: list[str]) -> None:
    refused(http.post("/postil/preview", json={"file": file, "only": "issues"}), 400, "nothing_found_yet")
    refused(http.post("/postil/preview", json={"file": file, "show": "没有"}), 400, "sheet_missing")
    refused(http.post("/postil/preview", json={"file": file, "limit": 501}), 400, param="limit")


def test_the_own_workbook_comes_back_with_marks(http: httpx.Client, file: str, asked: list[str]) -> None:
    answer = http.post("/postil/marked", json={"file": file})
    assert "%E5%AE%A2%E6%9C%8D.marked.xlsx" in answer.headers["content-disposition"]
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert len(book.worksheets) == 2 and book.worksheets[0]["B22"].comment is not None


def test_two_versions_are_compared(http: httpx.Client, file: str, asked: list[str]) -> None:
    sides = {"before": {"file": file}, "after": {"file": file, "edits": {"B2": "换了。"}, "without": [3]}}
    found = http.post("/postil/diff", json=sides).json()
    assert (found["same"], found["counts"]) == (19, {"added": 0, "removed": 1, "changed": 1})
    assert found["changed"][0]["after"]["messages"][-1]["content"] == "换了。"
    refused(
        http.post("/postil/diff", json={**sides, "after": {"file": "file-none"}}), 400, "file_not_found", "after.file"
    )


def test_data_sets_have_versions(server: Served, http: httpx.Client, file: str) -> None:
    body = {"name": "客服", "file": file, "edits": {"B22": "有。"}, "without": [], "facts": {"examples": 21}}
    first = http.post("/postil/datasets", json=body).json()
    assert (first["version"], first["reading"], first["facts"]) == (1, {"edits": {"B22": "有。"}}, {"examples": 21})
    place = f"/postil/datasets/{first['id']}"
    second = http.post(f"{place}/versions", json={"file": file, "mask": True, "columns": {"question": "A"}}).json()
    assert (second["version"], second["parent"], second["newest"], second["name"]) == (2, first["id"], True, "客服")
    assert second["reading"] == {"mask": True, "columns": {"question": "A"}}
    assert [one["id"] for one in http.get(f"{place}/versions").json()["data"]] == [first["id"], second["id"]]
    assert [one["id"] for one in http.get("/postil/datasets").json()["data"]] == [second["id"]]
    assert http.post(place, json={"name": "新名"}).json()["name"] == "新名"
    assert http.get(f"/postil/datasets/{second['id']}").json()["name"] == "新名"
    with server.http() as other:
        refused(other.get(place), 404, "not_found")
        refused(other.delete(place), 404, "not_found")
    refused(http.post("/postil/datasets", json={**body, "file": "file-none"}), 400, "file_not_found", "file")
    refused(http.post("/postil/datasets", json={**body, "columns": {"odd": "A"}}), 400, "unknown_parameter")
    assert http.delete(place).json() == {"id": first["id"], "deleted": True}
    refused(http.get(f"/postil/datasets/{second['id']}"), 404)


def test_a_data_set_that_is_sent_again_is_made_once(http: httpx.Client, file: str) -> None:
    sent = [http.post("/postil/datasets", json={"name": "a", "file": file}, headers={"idempotency-key": "k"})
            for _ in range(2)]  # fmt: skip
    assert sent[0].json() == sent[1].json() and len(http.get("/postil/datasets").json()["data"]) == 1


def test_a_stale_version_is_told_and_nothing_is_lost(http: httpx.Client, file: str) -> None:
    """Two who went on from one version: the second one is told, and her remedy works."""
    first = http.post("/postil/datasets", json={"name": "客服", "file": file}).json()
    place = f"/postil/datasets/{first['id']}/versions"
    hers = http.post(place, json={"file": file, "edits": {"B2": "她的"}}).json()
    answer = http.post(place, json={"file": file, "edits": {"B3": "他的"}})
    refused(answer, 400, "dataset_stale")
    assert hers["id"] in answer.json()["error"]["message"]
    both = {"file": file, "edits": {"B2": "她的", "B3": "他的"}}
    assert http.post(f"/postil/datasets/{hers['id']}/versions", json=both).json()["version"] == 3


def test_a_data_set_that_a_job_learns_from_stays(http: httpx.Client, file: str) -> None:
    made = http.post("/postil/datasets", json={"name": "客服", "file": file}).json()
    newer = http.post(f"/postil/datasets/{made['id']}/versions", json={"file": file, "mask": True}).json()
    refused(http.delete(f"/files/{file}"), 400, "file_in_dataset")
    order = {"model": BASE, "training_file": file, "metadata": {"dataset": made["id"]}}
    job = http.post("/fine_tuning/jobs", json=order).json()["id"]
    answer = http.delete(f"/postil/datasets/{newer['id']}")
    refused(answer, 400, "dataset_in_use")
    assert job in answer.json()["error"]["message"]
    http.post(f"/fine_tuning/jobs/{job}/cancel")
    assert http.delete(f"/postil/datasets/{newer['id']}").json()["deleted"] is True
    assert http.delete(f"/files/{file}").json()["deleted"] is True
    assert http.delete(f"/postil/jobs/{job}").json()["deleted"] is True
