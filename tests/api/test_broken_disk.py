"""Whatever is missing or damaged on the server's disk, no answer says where its files lie."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from postil.api.asking import ask
from postil.jobs import run
from postil.jobs.attempt import Desk, read_outcome
from postil.records import Event
from postil.web.carry import _packed
from tests.api.served import BASE, Served, rows, served, upload
from tests.api.test_ballots import evaluated

HI = [{"role": "user", "content": "Hi"}]
Names = dict[str, str]


@pytest.fixture
def alone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server whose disk may be broken, and a home of its own."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    with served(tmp_path / "server", tmp_path / "home") as server:
        yield server


def furnished(server: Served, http: httpx.Client, key: str) -> Names:
    """One of each kind of object, by the parameters of the routes."""
    job = evaluated(server, http, key)
    lost = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(http)}).json()["id"]
    server.set(lost, status="failed", error={"code": "data_changed", "message": "x", "param": None})
    model = server.queue.get(server.project(key), job).fine_tuned_model or ""
    directory = server.store.directory / server.store.models.get(server.project(key), model).directory
    (directory / "report.html").write_text("<p>report</p>", "utf-8")
    (directory / "report.md").write_text("report", "utf-8")
    plan = json.loads((directory / "plan.json").read_text("utf-8"))
    plan["base"] = {"name": BASE, "path": str(server.home / "models" / BASE)}
    (directory / "plan.json").write_text(json.dumps(plan), "utf-8")
    file = upload(http)
    dataset = http.post("/postil/datasets", json={"file": file, "name": "d"}).json().get("id", "none")
    ballot = http.post("/postil/ballots", json={"name": "b", "job": job}).json()["id"]
    rater = http.post(f"/postil/ballots/{ballot}/raters", json={"name": "a"}).json()
    judged = http.post("/postil/judgements", json={"job": job, "judge": f"local:{BASE}"}).json()["id"]
    made = http.post("/postil/sets", json={"file": file, "name": "s"}).json().get("id", "none")
    return {"file_id": file, "job_id": job, "task_id": judged, "model": model, "checkpoint": model, "set_id": made,
            "dataset_id": dataset, "ballot_id": ballot, "token": rater["link"].rpartition("/")[2], "line": "line:none",
            "lost": lost}  # fmt: skip


def calls(server: Served, names: Names) -> list[tuple[str, str, dict[str, Any]]]:
    """Every GET route with names of objects that are there, and what asks a model."""
    asked: list[tuple[str, str, dict[str, Any]]] = []
    for path, methods in server.app.openapi()["paths"].items():
        if "get" in methods and not path.endswith("/live"):
            needs = {one["name"] for one in methods["get"].get("parameters", []) if one["in"] == "query"}
            query = {"model": names["model"]} if "model" in needs else {}
            asked.append(("GET", path.format(**names, upload_id="none"), {"params": query}))
    asked.append(("GET", f"/v1/fine_tuning/jobs/{names['lost']}", {}))
    for model in (names["model"], BASE):
        asked.append(("POST", "/v1/chat/completions", {"json": {"model": model, "messages": HI}}))
    asked.append(("POST", "/v1/postil/comparisons", {"json": {"model": names["model"], "question": "Hi"}}))
    asked.append(
        ("POST", "/v1/fine_tuning/jobs", {"json": {"model": names["model"], "training_file": names["file_id"]}})
    )
    return asked


def kinds(server: Served) -> list[Path]:
    """A file of each kind that the store and the home hold."""
    found: dict[tuple[str, ...], Path] = {}
    for root in (server.store.directory, server.home):
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.startswith("postil.db"):
                below = path.relative_to(root).parts
                found.setdefault((str(root), *below[:1], path.suffix, path.name if len(path.name) < 40 else ""), path)
    return list(found.values())


def missing(path: Path) -> None:
    path.unlink()


def garbage(path: Path) -> None:
    path.write_bytes(b'\xff\x00{"path": ')


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def says_no_place(server: Served, answer: httpx.Response) -> None:
    text = answer.text + str(answer.headers)
    for place in (server.store.directory, server.home):
        assert str(place) not in text, (answer.request.url, text[:600])


@pytest.mark.full
def test_attack_33_no_answer_names_a_place_whatever_is_broken(alone: Served) -> None:
    key = alone.key()
    with alone.http(key, connection="close") as http:  # after a fault of its own the server hangs up
        http.base_url = httpx.URL(alone.url)
        with alone.http(key) as v1:
            names = furnished(alone, v1, key)
        asked = calls(alone, names)
        whole = [http.request(method, path, **more) for method, path, more in asked]
        assert sum(answer.status_code == 200 for answer in whole) > 35, [(a.status_code, str(a.url)) for a in whole]
        for answer in whole:
            says_no_place(alone, answer)
        broken = set()
        for path in kinds(alone):
            before = path.read_bytes()
            for breaks in (missing, garbage, directory):
                breaks(path)
                for method, where, more in asked:
                    answer = http.request(method, where, **more)
                    says_no_place(alone, answer)
                    broken |= {path} if answer.status_code >= 400 else set()
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                path.write_bytes(before)
        assert len(broken) >= 3, "some of them were noticed"


def test_attack_33_no_answer_names_a_place_when_all_is_gone(alone: Served) -> None:
    key = alone.key()
    with alone.http(key) as v1:
        names = furnished(alone, v1, key)
    asked = calls(alone, names)
    with alone.http(key, connection="close") as http:
        http.base_url = httpx.URL(alone.url)

        def all_say_no_place() -> str:
            answers = [http.request(method, path, **more) for method, path, more in asked]
            for answer in answers:
                says_no_place(alone, answer)
            return " ".join(answer.text for answer in answers if answer.status_code >= 400)

        for path in alone.store.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        assert "not_an_adapter" in all_say_no_place()
        shutil.rmtree(alone.home)
        assert "model_not_found" in all_say_no_place()
        (alone.store.directory / "postil.db").write_bytes(b"no database")
        all_say_no_place()


def test_attack_33_what_a_command_says_names_no_place(alone: Served) -> None:
    """The real one, in a process of its own: of a good file, and of one that is none."""
    alone.house.ask = ask
    with alone.http(alone.key()) as http:
        for content, status in ((rows(), 200), (b"\x00" * 64, 400)):
            file = upload(http, content, name="a.xlsx" if status == 400 else "a.jsonl", purpose="user_data")
            answer = http.post("/postil/check", json={"file": file})
            assert answer.status_code == status, answer.text
            says_no_place(alone, answer)


def test_attack_33_what_a_worker_tells_names_no_place(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1, None)
    desk.emit(Event("done", {"percent": 100.0, "path": str(tmp_path / "run")}))
    run.work({"kind": "evaluation", "inputs": {"training": {"path": str(tmp_path / "none.csv"), "sha256": "0"}}}, desk)
    outcome = read_outcome(tmp_path)
    assert outcome is not None and outcome["postil"] == "data_changed"
    written = json.dumps(outcome) + (tmp_path / "events.jsonl").read_text("utf-8")
    assert str(tmp_path) not in written and "none.csv" in written


def test_attack_33_a_downloaded_adapter_names_no_place(tmp_path: Path) -> None:
    told = {"base": {"path": str(tmp_path / "models" / "tiny")}, "base_model_name_or_path": str(tmp_path / "tiny")}
    for name in ("plan.json", "result.json", "adapter_config.json"):
        (tmp_path / name).write_text(json.dumps(told), "utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    with zipfile.ZipFile(io.BytesIO(_packed(tmp_path).read())) as archive:
        texts = {name: archive.read(name) for name in archive.namelist()}
    assert set(texts) == {"plan.json", "result.json", "adapter_config.json", "adapter_model.safetensors"}
    assert not [name for name, content in texts.items() if str(tmp_path).encode() in content]
    assert json.loads(texts["plan.json"]) == {"base": {"path": "tiny"}, "base_model_name_or_path": "tiny"}
