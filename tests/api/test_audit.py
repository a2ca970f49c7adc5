"""Every route that changes or gives something writes who did it, or stands below with the reason why not.

The routes come from the application's own document: a new one that is in neither table fails the test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from postil.locales import knows
from postil.store import ACTS
from tests.api.served import BASE, Served, refused, rows, upload
from tests.api.test_ballots import evaluated

QUIET = ("application/json", "text/event-stream")  # what is read on a page, where no file is taken away


class World:
    """A project with whatever a route needs."""

    def __init__(self, server: Served, http: httpx.Client, key: str) -> None:
        self.server, self.http, self.key = server, http, key

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body)

    def made(self, path: str, body: Any) -> str:
        """The id of what this makes."""
        answer = self.post(path, body)
        assert answer.status_code == 200, (path, answer.text)
        return str(answer.json()["id"])

    def file(self) -> str:
        return upload(self.http)

    def job(self, **state: Any) -> str:
        job = self.made("/fine_tuning/jobs", {"model": BASE, "training_file": self.file()})
        if state:
            self.server.set(job, **state)
        return job

    def model(self) -> str:
        return self.server.model(self.key)

    def ballot(self) -> str:
        return self.made("/postil/ballots", {"name": "b", "job": evaluated(self.server, self.http, self.key)})

    def rater(self) -> str:
        return self.made(f"/postil/ballots/{self.ballot()}/raters", {"name": "r"})

    def dataset(self) -> str:
        return self.made("/postil/datasets", {"name": "d", "file": self.file()})

    def corrections(self) -> str:
        owner = self.made("/postil/correction_sets", {"name": "x"})
        self.made(f"/postil/correction_sets/{owner}/corrections", {"question": "q", "answer": "a", "right": "b"})
        return owner

    def line(self) -> str:
        for _ in range(2):
            assert self.post("/postil/lines/shop", {"model": self.model()}).status_code == 200
        return "/postil/lines/shop"

    def part(self) -> tuple[str, str]:
        told = {"bytes": len(rows()), "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune"}
        whole = self.made("/uploads", told)
        return whole, str(self.http.post(f"/uploads/{whole}/parts", files={"data": ("a", rows())}).json()["id"])


def _complete(world: World) -> httpx.Response:
    whole, part = world.part()
    return world.post(f"/uploads/{whole}/complete", {"part_ids": [part]})


def _unshare(world: World) -> httpx.Response:
    place = f"/fine_tuning/checkpoints/{world.model()}/permissions"
    permission = world.post(place, {"project_ids": ["proj_x"]}).json()["data"][0]["id"]
    return world.http.delete(f"{place}/{permission}")


def _report(world: World) -> httpx.Response:
    model = world.model()
    found = world.server.store.models.get(world.server.project(world.key), model)
    (world.server.store.directory / found.directory / "report.html").write_text("<p>good</p>")
    return world.http.get("/postil/models/report", params={"model": model})


def _marked(world: World) -> httpx.Response:
    def ask(arguments: Any, seconds: float) -> Any:
        report = next(one.removeprefix("--report=") for one in arguments if one.startswith("--report="))
        Path(report).write_bytes(b"PK")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.server.house, "ask", ask)
        return world.post("/postil/marked", {"file": world.file()})


def _judgement(world: World) -> httpx.Response:
    job = evaluated(world.server, world.http, world.key)
    return world.post("/postil/judgements", {"job": job, "judge": f"local:{BASE}", "most": 1})


def _allow(world: World) -> httpx.Response:
    model = world.server.model(world.key, outcome="worse")
    return world.post("/postil/models/allow", {"model": model, "reason": "looked at it"})


def _correction(world: World) -> httpx.Response:
    first = world.http.get(f"/postil/correction_sets/{world.corrections()}/corrections").json()["data"][0]["id"]
    return world.http.delete(f"/postil/corrections/{first}")


def _key(world: World) -> str:
    return world.made("/postil/keys", {"name": "k", "scopes": ["read"]})


def _task(world: World) -> dict[str, str]:
    return {"model": world.model(), "file": upload(world.http, purpose="user_data")}


Act = Callable[[World], httpx.Response]
AUDITED: dict[str, tuple[str, Act]] = {
    "POST /v1/files": ("file_added", lambda w: w.http.get(f"/files/{w.file()}")),
    "DELETE /v1/files/{file_id}": ("file_deleted", lambda w: w.http.delete(f"/files/{w.file()}")),
    "GET /v1/files/{file_id}/content": ("downloaded", lambda w: w.http.get(f"/files/{w.file()}/content")),
    "POST /v1/uploads/{upload_id}/complete": ("file_added", _complete),
    "POST /v1/fine_tuning/jobs": ("job_ordered", lambda w: w.http.get(f"/fine_tuning/jobs/{w.job()}")),
    "POST /v1/fine_tuning/jobs/{job_id}/cancel": (
        "job_cancelled", lambda w: w.post(f"/fine_tuning/jobs/{w.job()}/cancel")),
    "POST /v1/fine_tuning/jobs/{job_id}/pause": (
        "job_paused", lambda w: w.post(f"/fine_tuning/jobs/{w.job(status='queued')}/pause")),
    "POST /v1/fine_tuning/jobs/{job_id}/resume": (
        "job_resumed", lambda w: w.post(f"/fine_tuning/jobs/{w.job(status='paused')}/resume")),
    "POST /v1/fine_tuning/checkpoints/{checkpoint}/permissions": ("model_shared", lambda w: w.post(
        f"/fine_tuning/checkpoints/{w.model()}/permissions", {"project_ids": ["proj_x"]})),
    "DELETE /v1/fine_tuning/checkpoints/{checkpoint}/permissions/{permission_id}": ("model_unshared", _unshare),
    "DELETE /v1/models/{model}": ("model_deleted", lambda w: w.http.delete(f"/models/{w.model()}")),
    "POST /v1/postil/marked": ("downloaded", _marked),
    "POST /v1/postil/bases": ("job_ordered", lambda w: w.post("/postil/bases", {"model": "qwen2.5-0.5b-instruct"})),
    "POST /v1/postil/datasets": ("dataset_made", lambda w: w.post("/postil/datasets", {"name": "d", "file": w.file()})),
    "DELETE /v1/postil/datasets/{dataset_id}": (
        "dataset_deleted", lambda w: w.http.delete(f"/postil/datasets/{w.dataset()}")),
    "POST /v1/postil/datasets/{dataset_id}/versions": ("dataset_made", lambda w: w.post(
        f"/postil/datasets/{w.dataset()}/versions", {"file": w.file(), "mask": True})),
    "POST /v1/postil/evaluations": ("job_ordered", lambda w: w.post("/postil/evaluations", _task(w))),
    "POST /v1/postil/answers": ("job_ordered", lambda w: w.post("/postil/answers", _task(w))),
    "POST /v1/postil/exports": (
        "exported", lambda w: w.post("/postil/exports", {"model": w.model(), "to": "merged"})),
    "POST /v1/postil/tasks/{task_id}/cancel": ("job_cancelled", lambda w: w.post(
        f"/postil/tasks/{w.made('/postil/answers', _task(w))}/cancel")),
    "POST /v1/postil/jobs/{job_id}/keep": (
        "job_kept", lambda w: w.post(f"/postil/jobs/{w.job(status='running')}/keep")),
    "DELETE /v1/postil/jobs/{job_id}": (
        "job_deleted", lambda w: w.http.delete(f"/postil/jobs/{w.job(status='failed')}")),
    "POST /v1/postil/imports": ("job_ordered", lambda w: w.post("/postil/imports", {
        "description": {"model": BASE, "training_file": "f"}, "model": BASE, "training_file": w.file()})),
    "POST /v1/postil/jobs/{job_id}/again": (
        "job_ordered", lambda w: w.post(f"/postil/jobs/{w.job(status='failed')}/again")),
    "POST /v1/postil/sets": ("file_added", lambda w: w.post("/postil/sets", {"name": "s", "file": w.file()})),
    "DELETE /v1/postil/sets/{set_id}": ("set_deleted", lambda w: w.http.delete(
        f"/postil/sets/{w.made('/postil/sets', {'name': 's', 'file': w.file()})}")),
    "DELETE /v1/postil/correction_sets/{set_id}": (
        "corrections_deleted", lambda w: w.http.delete(f"/postil/correction_sets/{w.corrections()}")),
    "POST /v1/postil/correction_sets/{set_id}/file": (
        "file_added", lambda w: w.post(f"/postil/correction_sets/{w.corrections()}/file")),
    "DELETE /v1/postil/corrections/{correction_id}": ("correction_deleted", _correction),
    "POST /v1/postil/judgements": ("job_ordered", _judgement),
    "POST /v1/postil/ballots": ("ballot_begun", lambda w: w.http.get(f"/postil/ballots/{w.ballot()}")),
    "DELETE /v1/postil/ballots/{ballot_id}": (
        "ballot_deleted", lambda w: w.http.delete(f"/postil/ballots/{w.ballot()}")),
    "GET /v1/postil/ballots/{ballot_id}/sheet": (
        "downloaded", lambda w: w.http.get(f"/postil/ballots/{w.ballot()}/sheet")),
    "POST /v1/postil/ballots/{ballot_id}/close": (
        "ballot_closed", lambda w: w.post(f"/postil/ballots/{w.ballot()}/close")),
    "POST /v1/postil/ballots/{ballot_id}/raters": (
        "rater_invited", lambda w: w.post(f"/postil/ballots/{w.ballot()}/raters", {"name": "r"})),
    "POST /v1/postil/raters/{rater_id}/link": (
        "rater_link_renewed", lambda w: w.post(f"/postil/raters/{w.rater()}/link")),
    "DELETE /v1/postil/raters/{rater_id}": (
        "rater_dismissed", lambda w: w.http.delete(f"/postil/raters/{w.rater()}")),
    "GET /v1/postil/models/report": ("downloaded", _report),
    "POST /v1/postil/lines/{line}": ("line_set", lambda w: w.http.get(w.line())),
    "DELETE /v1/postil/lines/{line}": ("line_deleted", lambda w: w.http.delete(w.line())),
    "POST /v1/postil/lines/{line}/back": ("line_rolled_back", lambda w: w.post(f"{w.line()}/back")),
    "POST /v1/postil/models/allow": ("model_allowed", _allow),
    "POST /v1/postil/models/withdraw": (
        "model_withdrawn", lambda w: w.post("/postil/models/withdraw", {"model": w.model(), "reason": "x"})),
    "POST /v1/postil/keys": ("key_made", lambda w: w.post("/postil/keys", {"name": "k", "scopes": ["read"]})),
    "POST /v1/postil/keys/{key_id}/rotate": ("key_rotated", lambda w: w.post(f"/postil/keys/{_key(w)}/rotate")),
    "DELETE /v1/postil/keys/{key_id}": ("key_revoked", lambda w: w.http.delete(f"/postil/keys/{_key(w)}")),
}  # fmt: skip
LOOKS = "looks at the project's own data and changes nothing; what is taken away as a file is written down"
ASKS = "asks a model and changes nothing; questions and answers are nobody's business, their tokens are counted"
SIGNED = "the row itself says by which key it was written, and when"
EXCEPTED = {
    "POST /v1/chat/completions": ASKS, "POST /v1/postil/comparisons": ASKS,
    "POST /v1/postil/check": LOOKS, "POST /v1/postil/preview": LOOKS, "POST /v1/postil/diff": LOOKS,
    "POST /v1/postil/plan": LOOKS, "POST /v1/postil/xray": LOOKS,
    "POST /v1/postil/correction_sets/{set_id}/corrections": SIGNED,
    "POST /v1/postil/corrections/{correction_id}": SIGNED, "POST /v1/postil/models/note": SIGNED,
    "POST /rate/{token}/votes": "the vote itself says whose it is; a rater has no key",
    "POST /v1/uploads": "an upload without its parts is nothing yet: its completion is written down",
    "POST /v1/uploads/{upload_id}/parts": "the same", "POST /v1/uploads/{upload_id}/cancel": "the same",
    "POST /v1/postil/datasets/{dataset_id}": "a name for display, and nothing else",
    "POST /v1/postil/correction_sets": "an empty heap",
}  # fmt: skip


def routes(server: Served) -> set[str]:
    """Those that change something, or give a file away."""
    found = set()
    for path, methods in server.app.openapi()["paths"].items():
        for method, operation in methods.items():
            types = operation["responses"].get("200", {}).get("content", {})
            if method != "get" or any(kind not in QUIET for kind in types):
                found.add(f"{method.upper()} {path}")
    return found


def test_every_route_that_changes_or_gives_something_is_audited_or_excepted(server: Served) -> None:
    assert routes(server) == AUDITED.keys() | EXCEPTED.keys()
    assert not AUDITED.keys() & EXCEPTED.keys()


@pytest.mark.parametrize("route", AUDITED)
def test_an_act_is_written_down_with_whose_it_was(server: Served, http: httpx.Client, key: str, route: str) -> None:
    act, perform = AUDITED[route]
    answer = perform(World(server, http, key))
    assert answer.status_code == 200, answer.text
    caller = server.store.keys.check(key)
    assert caller is not None
    lines = http.get("/postil/audit", params={"act": act, "key": caller.id}).json()["data"]
    assert lines, f"{route} wrote no line {act}"
    assert {(line["key_id"], line["key_name"], line["address"]) for line in lines} == {
        (caller.id, "test", "127.0.0.1")
    }  # fmt: skip
    assert key.rpartition("-")[2] not in str(lines)


def test_every_act_has_words(lang: str) -> None:
    assert all(knows(f"audit.act.{act}") for act in ACTS)
    assert {act for act, _ in AUDITED.values()} <= set(ACTS)


def test_the_audit_is_for_administrators_and_of_their_project_alone(server: Served, http: httpx.Client) -> None:
    http.get(f"/files/{upload(http)}/content")
    for scope in ("read", "train", "serve"):
        with server.http(server.key(scope)) as other:
            refused(other.get("/postil/audit"), 403, "scope_missing")
    with server.http() as other:
        assert [line["act"] for line in other.get("/postil/audit").json()["data"]] == ["key_made"]
    page = http.get("/postil/audit", params={"limit": 1}).json()
    assert page["has_more"] and page["data"][0]["act"] == "downloaded" and page["data"][0]["words"] == "downloaded"
    following = http.get("/postil/audit", params={"limit": 1, "after": page["last_id"]}).json()
    assert following["data"][0]["act"] == "file_added"
    zh = http.get("/postil/audit", params={"limit": 1}, headers={"accept-language": "zh"}).json()
    assert zh["data"][0]["words"] == "下载了"
