"""The whole way with real workers and a real engine (acceptance 1, 11, 13), and with older clients."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from postil.jobs import Watch
from postil.serve import open_engine
from postil.settings import for_child
from tests.api.served import BASE, Served, rows, served
from tests.story import sheet

pytestmark = pytest.mark.slow
PATIENCE = 900.0  # seconds; only ends what hangs, on the slowest of machines
SMALL: Any = {"x_postil": {"max_length": 64, "validation_rows": 4, "test_rows": 4, "checkpoint_every": 2,
                           "learning_rate": 0.01, "learning_rate_probe": False, "lora": {"r": 2}}}  # fmt: skip


@pytest.fixture(scope="module")
def working(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTIL_HOME", str(home))
        with served(tmp_path_factory.mktemp("working"), home, Watch, open_engine) as made:
            yield made


def loose(served: Served, client: openai.OpenAI) -> openai.OpenAI:
    """The same client, which takes `paused` for a status: OpenAI's own list of them lacks it."""
    return served.openai(client.api_key, _strict_response_validation=False)


def ended(client: openai.OpenAI, job: str, *, until: tuple[str, ...] = ("succeeded", "failed", "cancelled")) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = client.fine_tuning.jobs.retrieve(job)
        if found.status in until:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_11_from_a_file_to_an_answer(working: Served) -> None:
    client = working.openai()
    file = client.files.create(file=("训练.jsonl", rows(60)), purpose="fine-tune")
    order: Any = {"suffix": "Shop", "seed": 3, "hyperparameters": {"n_epochs": 2, "batch_size": 4}}
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id, extra_body=SMALL, **order)
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model.startswith(f"ft:{BASE}:")
    assert done.trained_tokens > 0
    told = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)][::-1]
    for beginning in ("Created fine-tuning job: ", "Validating training file: ",
                      "Files validated, moving job to queued state", "Fine-tuning job started", "Step 1/",
                      "Checkpoint created at step ", "New fine-tuned model created: "):  # fmt: skip
        assert any(message.startswith(beginning) for message in told), (beginning, told)
    assert told[-1] == "The job has successfully completed"
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id))
    table = list(csv.DictReader(io.StringIO(client.files.content(done.result_files[0]).text)))
    assert next(iter(table[0])) == "step"
    assert all(value == "" or float(value) == float(value) for row in table for value in row.values())
    http = working.http(client.api_key)
    http.post("/postil/models/allow", json={"model": done.fine_tuned_model, "reason": "a test"})
    asked: Any = {"model": done.fine_tuned_model, "messages": [{"role": "user", "content": "产品 1?"}], "max_tokens": 6,
                  "temperature": 0}  # fmt: skip
    answer = client.chat.completions.create(**asked)
    said = "".join(
        chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked, stream=True)
    )
    assert said == answer.choices[0].message.content
    assert client.models.delete(done.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**asked)


def test_the_page_on_the_api_does_what_it_says(
    working: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = working.key()
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told = {"http://127.0.0.1:8000": working.url, "sk-postil-…": key, "smollm2-135m-instruct": BASE,
            "titles.xlsx": sheet(tmp_path / "titles.csv").name}  # fmt: skip
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        for word, mine in told.items():
            block = block.replace(word, mine)
        exec(block, names)
        if number == 1:
            assert names["job"].status == "succeeded", names["job"].error
            assert "completed" in capsys.readouterr().out
            allowed = {"model": names["job"].fine_tuned_model, "reason": "a test"}
            assert working.http(key).post("/postil/models/allow", json=allowed).status_code == 200
    assert len(blocks) == 3 and names["job"].fine_tuned_model.split(":")[3] == "titles"
    assert names["answer"].choices[0].finish_reason in ("stop", "length")


def test_13_a_paused_job_ends_with_the_same_bytes(working: Served) -> None:
    client = working.openai()
    file = client.files.create(file=rows(60), purpose="fine-tune")
    # how many threads are the fastest is else measured for each order, and decides the last bits
    small = {"x_postil": {**SMALL["x_postil"], "threads": 1}}
    order: Any = {"model": BASE, "training_file": file.id, "seed": 5, "extra_body": small,
                  "hyperparameters": {"n_epochs": 6, "batch_size": 4}}  # fmt: skip
    whole = client.fine_tuning.jobs.create(**order)
    first = ended(client, whole.id)
    assert first.status == "succeeded", first.error
    paused = client.fine_tuning.jobs.create(**order)
    ended(client, paused.id, until=("running",))
    relaxed = loose(working, client)
    relaxed.fine_tuning.jobs.pause(paused.id)
    found = ended(relaxed, paused.id, until=("paused", "succeeded"))
    assert found.status == "paused"
    client.fine_tuning.jobs.resume(paused.id)
    second = ended(client, paused.id)
    assert second.status == "succeeded", second.error
    assert second.x_postil["adapter_sha256"] == first.x_postil["adapter_sha256"]


def test_a_training_is_judged_voted_on_kept_as_a_set_and_known_by_its_card(working: Served) -> None:
    client = working.openai()
    http = working.http(client.api_key)
    file = client.files.create(file=("训练.jsonl", rows(60)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id, seed=3, extra_body=SMALL,
                                         hyperparameters={"n_epochs": 1, "batch_size": 8})  # fmt: skip
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    codes = [one["code"] for one in http.get(f"/postil/jobs/{job.id}/findings").json()["data"]]
    assert "few_updates" in codes and "too_few_rows" in codes
    made = http.post("/postil/sets", json={"name": "test part", "job": job.id}).json()
    assert made["examples"] == 4
    ballot = http.post("/postil/ballots", json={"name": "vote", "job": job.id}).json()
    assert ballot["questions"] + ballot["same"] == 4
    judged = http.post("/postil/judgements", json={"job": job.id, "judge": f"local:{BASE}"}).json()
    deadline = time.monotonic() + PATIENCE
    while judged["status"] not in ("succeeded", "failed") and time.monotonic() < deadline:
        time.sleep(0.1)
        judged = http.get(f"/postil/tasks/{judged['id']}").json()
    assert judged["status"] == "succeeded", judged
    told = http.get(f"/postil/judgements/{judged['id']}/rows").json()["judgement"]
    assert len(told["rows"]) == 4 and told["judge"] == f"local:{BASE}"
    names = [http.get(f"/files/{one}").json()["filename"] for one in judged["result_files"]]
    assert names == ["judgement.json", "judgement.xlsx"]
    card = http.get("/postil/models/card", params={"model": done.fine_tuned_model}).json()
    assert card["job"]["id"] == job.id and card["report"] and card["job"]["examples"]["test"] == 4
    assert [one["kind"] for one in card["evaluations"]] == ["judgement"]
    again = http.post(f"/postil/jobs/{job.id}/again", json={"settings": {"n_epochs": 2}}).json()
    more = ended(client, again["id"])
    assert more.status == "succeeded" and more.hyperparameters.n_epochs == 2


OLDER = """
import sys, json, openai
base, key, model, tuned = sys.argv[1:]
c = openai.OpenAI(base_url=base, api_key=key, _strict_response_validation=True, max_retries=0)
row = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}) + "\\n"
f = c.files.create(file=("训练.jsonl", (row * 12).encode()), purpose="fine-tune")
assert [x.id for x in c.files.list()] == [f.id] and c.files.retrieve(f.id).id == f.id
u = c.uploads.upload_file_chunked(file=b"abcdef", filename="u", bytes=6, mime_type="text/plain", purpose="user_data",
                                  part_size=4)
assert u.status == "completed"
j = c.fine_tuning.jobs.create(model=model, training_file=f.id, hyperparameters={"n_epochs": 2}, metadata={"a": "b"})
assert [x.id for x in c.fine_tuning.jobs.list()] == [j.id]
assert len(list(c.fine_tuning.jobs.list_events(j.id, limit=1))) == 2
assert not list(c.fine_tuning.jobs.checkpoints.list(j.id))
assert c.fine_tuning.jobs.cancel(j.id).status == "cancelled"
p = c.fine_tuning.checkpoints.permissions.create(tuned, project_ids=["proj_x"]).data[0]
assert {m.id for m in c.models.list()} == {model, tuned} and c.models.retrieve(tuned).id == tuned
m = [{"role": "user", "content": "Hi"}]
a = c.chat.completions.create(model=tuned, messages=m)
s = c.chat.completions.create(model=tuned, messages=m, stream=True, stream_options={"include_usage": True})
assert "".join(x.choices[0].delta.content or "" for x in s if x.choices) == a.choices[0].message.content
assert c.models.delete(tuned).deleted
for call, kind in ((lambda: c.files.retrieve("file-none"), openai.NotFoundError),
                   (lambda: c.models.delete(model), openai.PermissionDeniedError),
                   (lambda: c.chat.completions.create(model=model, messages=[]), openai.BadRequestError)):
    try:
        call()
    except kind:
        continue
    raise SystemExit(f"no {kind}")
print("whole", openai.__version__)
"""


@pytest.mark.parametrize("version", ["1.109.1", "2.54.0", "3.54.0"])
def test_01_every_major_in_strict_mode(
    server: Served, key: str, version: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("client")
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(target),
               f"openai=={version}"]  # fmt: skip
    subprocess.run(install, check=True, timeout=300)
    tuned = server.model(key, name=f"ft:org/base:local::{version}")
    command = [sys.executable, "-W", "ignore", "-c", OLDER, f"{server.url}/v1", key, BASE, tuned]
    told = {**for_child(), "PYTHONPATH": str(target)}
    done = subprocess.run(command, capture_output=True, text=True, env=told, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == f"whole {version}"
