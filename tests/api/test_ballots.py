"""Blind votes over HTTP: links open their own ballot alone, and nobody learns the sides before the end."""

from __future__ import annotations

import json

import httpx
import pytest

from postil.api import rate
from postil.evaluate import sides
from tests.api.served import BASE, Served, refused, upload

ROWS = [{"rows": [i], "question": f"问题 {i}?", "reference": f"答 {i}", "base": f"base {i}",
         "tuned": f"tuned {i}" if i else "base 0", "base_score": 0.2, "tuned_score": 0.9}
        for i in range(25)]  # fmt: skip


def evaluated(server: Served, http: httpx.Client, key: str) -> str:
    """A training with its proof; the first question has the same answer twice."""
    job = str(http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(http)}).json()["id"])
    model = server.model(key)
    server.set(job, status="succeeded", fine_tuned_model=model)
    told = {"base": {"char_f1": 0.2}, "tuned": {"char_f1": 0.9}, "forgetting": 0.0, "rows": ROWS,
            "verdict": {"outcome": "better", "metric": "char_f1", "difference": 0.7, "interval": [0.5, 0.8], "n": 25,
                        "p_value": 0.01, "words": "x"}}  # fmt: skip
    directory = server.store.directory / server.store.models.get(server.project(key), model).directory
    (directory / "evaluation.json").write_text(json.dumps(told), "utf-8")
    return job


@pytest.fixture
def ballot(server: Served, http: httpx.Client, key: str) -> str:
    made = http.post("/postil/ballots", json={"name": "十一月盲评", "job": evaluated(server, http, key)})
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def invite(http: httpx.Client, ballot: str, name: str = "张三") -> str:
    return str(http.post(f"/postil/ballots/{ballot}/raters", json={"name": name}).json()["link"])


def test_from_an_evaluation_to_a_verdict_of_people(server: Served, http: httpx.Client, ballot: str) -> None:
    made = http.get(f"/postil/ballots/{ballot}").json()
    assert (made["questions"], made["same"], made["closed"], made["result"]["votes"]) == (24, 1, False, 0)
    assert "?" in made["question"]
    links = [invite(http, ballot, name) for name in ("张三", "Li")]
    with httpx.Client(base_url=server.url) as anyone:
        for link, most in zip(links, (24, 3), strict=True):
            shown = anyone.get(link + "/ballot").json()
            assert len(shown["rows"]) == 24 and 0 not in [one["row"] for one in shown["rows"]]
            for row in shown["rows"][:most]:
                choice = "a" if row["a"].startswith("tuned") else "b"  # they like the tuned one
                told = anyone.post(link + "/votes", json={"row": row["row"], "choice": choice}).json()
            assert (told["voted"], told["of"]) == (most, 24)
            refused(anyone.get(link + "/result"), 403, "ballot_open")
    closed = http.post(f"/postil/ballots/{ballot}/close").json()
    result = closed["result"]
    assert result["preference"].items() >= {"outcome": "better", "won": 24, "lost": 0, "tied": 1, "n": 25}.items()
    assert result["agreement"].items() >= {"raters": 2, "percent": 1.0, "method": "cohen"}.items()
    assert 0.3 < result["left_share"] < 0.7
    assert [one["voted"] for one in closed["raters"]] == [24, 3] and closed["raters"][0]["link"] is None
    end = httpx.get(server.url + links[0] + "/result").json()
    assert end["preference"]["outcome"] == "better" and end["rows"][1]["own"] == "tuned"
    rows = http.get(f"/postil/ballots/{ballot}/rows").json()["data"]
    assert (
        {vote for row in rows for vote in row["votes"].values()} == {"tuned"}
        and rows[0]["votes"] == {}
        and len(rows) == 25
    )
    refused(httpx.post(server.url + links[0] + "/votes", json={"row": 1, "choice": "a"}), 400, "ballot_closed")
    refused(http.post(f"/postil/ballots/{ballot}/raters", json={"name": "late"}), 400, "ballot_closed")


def test_nothing_that_a_rater_gets_tells_the_sides(server: Served, http: httpx.Client, ballot: str) -> None:
    link = invite(http, ballot)
    answer = httpx.get(server.url + link + "/ballot")
    row = server.store.ballots.of_link(link.rpartition("/")[2])[0]
    rater = server.store.ballots.of_link(link.rpartition("/")[2])[1]
    assert row.seed not in answer.text and rater.id not in answer.text and row.model not in answer.text
    left = sides(row.seed, rater.id, len(row.rows))
    for one in answer.json()["rows"]:
        assert set(one) == {"row", "question", "reference", "a", "b", "choice", "comment"}
        assert one["a"] == row.rows[one["row"]]["tuned" if left[one["row"]] else "base"]
    assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_vote_is_changed_and_seen_again(server: Served, http: httpx.Client, ballot: str) -> None:
    link = server.url + invite(http, ballot)
    for choice, comment in (("a", None), ("both_bad", "都不行")):
        httpx.post(link + "/votes", json={"row": 3, "choice": choice, "comment": comment})
    rows = {one["row"]: one for one in httpx.get(link + "/ballot").json()["rows"]}
    assert (rows[3]["choice"], rows[3]["comment"], rows[4]["choice"]) == ("both_bad", "都不行", None)
    assert http.get(f"/postil/ballots/{ballot}/rows").json()["data"][3]["comments"]
    for body in ({"row": 99, "choice": "a"}, {"row": 0, "choice": "a"}):
        refused(httpx.post(link + "/votes", json=body), 404, "row_not_found")
    for body in ({"row": 1, "choice": "tuned"}, {"row": -1, "choice": "a"}, {"row": "1", "choice": "a"}, {}):
        refused(httpx.post(link + "/votes", json=body), 400)


def test_attack_15_a_link_opens_its_own_ballot_and_nothing_else(
    server: Served, http: httpx.Client, key: str, ballot: str
) -> None:
    link = invite(http, ballot)
    token = link.rpartition("/")[2]
    for path in ("/v1/models", f"/v1/postil/ballots/{ballot}", f"/v1/postil/ballots/{ballot}/rows", "/v1/files"):
        refused(httpx.get(server.url + path, headers={"authorization": f"Bearer {token}"}), 401, "invalid_api_key")
    other = http.post("/postil/ballots", json={"name": "b", "job": evaluated(server, http, key), "most": 3}).json()[
        "id"
    ]
    second = invite(http, other, "other")
    assert len(httpx.get(server.url + second + "/ballot").json()["rows"]) == 2
    httpx.post(server.url + second + "/votes", json={"row": 1, "choice": "same"})
    assert http.get(f"/postil/ballots/{ballot}").json()["result"]["votes"] == 0
    renewed = http.post(f"/postil/raters/{http.get(f'/postil/ballots/{ballot}').json()['raters'][0]['id']}/link").json()
    refused(httpx.get(server.url + link + "/ballot"), 404, "rater_not_found")
    assert httpx.get(server.url + renewed["link"] + "/ballot").status_code == 200
    assert http.delete(f"/postil/raters/{renewed['id']}").json()["deleted"] is True
    refused(httpx.get(server.url + renewed["link"] + "/ballot"), 404, "rater_not_found")
    for method, path in (("PUT", f"{second}/votes"), ("DELETE", f"{second}/ballot")):
        refused(httpx.request(method, server.url + path), 405)


def test_attack_15_a_link_is_paced(
    server: Served, http: httpx.Client, ballot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "PER_MINUTE", 3)
    link, other = (server.url + invite(http, ballot, name) for name in ("a", "b"))
    assert [httpx.get(link + "/ballot").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert httpx.get(other + "/ballot").status_code == 200


def test_attack_16_a_vote_of_another_project_does_not_exist(server: Served, http: httpx.Client, ballot: str) -> None:
    rater = http.post(f"/postil/ballots/{ballot}/raters", json={"name": "x"}).json()["id"]
    job = http.get(f"/postil/ballots/{ballot}").json()["job"]
    with server.http() as other:
        for method, path in (
            ("GET", f"/postil/ballots/{ballot}"), ("GET", f"/postil/ballots/{ballot}/rows"),
            ("POST", f"/postil/ballots/{ballot}/close"), ("DELETE", f"/postil/ballots/{ballot}"),
            ("POST", f"/postil/raters/{rater}/link"), ("DELETE", f"/postil/raters/{rater}"),
        ):  # fmt: skip
            refused(other.request(method, path), 404)
        refused(other.post(f"/postil/ballots/{ballot}/raters", json={"name": "x"}), 404)
        refused(other.post("/postil/ballots", json={"name": "x", "job": job}), 404)
        assert other.get("/postil/ballots").json()["data"] == []
    with server.http(server.key("read", project=server.project(http.headers["authorization"][7:]))) as reader:
        assert reader.get(f"/postil/ballots/{ballot}").status_code == 200
        refused(reader.post(f"/postil/ballots/{ballot}/close"), 403)
    assert http.delete(f"/postil/ballots/{ballot}").json()["deleted"] is True


def test_there_is_no_vote_without_answers(http: httpx.Client) -> None:
    job = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(http)}).json()["id"]
    refused(http.post("/postil/ballots", json={"name": "x", "job": job}), 400, "job_not_evaluated")


def test_the_result_is_a_workbook_too(server: Served, http: httpx.Client, ballot: str) -> None:
    import io

    import openpyxl

    link = server.url + invite(http, ballot)
    httpx.post(link + "/votes", json={"row": 2, "choice": "both_bad"})
    answer = http.get(f"/postil/ballots/{ballot}/sheet")
    assert "spreadsheetml" in answer.headers["content-type"] and "attachment" in answer.headers["content-disposition"]
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0]
    assert sheet.max_row == 26 and [cell.value for cell in sheet[4]][-4:] == [0, 0, 0, 1]
