"""Programs of others, unchanged, against our server (acceptance 19). Each is installed into a place of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from postil.errors import EngineError
from postil.jobs import Watch
from postil.serve import Request
from postil.settings import for_child
from tests.api.others import node_with, python_with, run
from tests.api.served import BASE, Served, rows, served
from tests.api.test_story import SMALL, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
large = pytest.mark.full  # hundreds of megabytes to install
SCRIPTS = Path(__file__).parent / "scripts"
LOST = "Break off"


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Path:
    return request.config.cache.mkdir("others")  # type: ignore[union-attr]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "训练.jsonl"
    path.write_bytes(rows())
    return path


@pytest.fixture(scope="module")
def working(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose jobs are trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTIL_HOME", str(home))
        with served(tmp_path_factory.mktemp("working"), home, Watch) as made:
            yield made


def told(server: Served, key: str, **more: str) -> dict[str, str]:
    """What OpenAI's clients read from the environment."""
    return {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": key, "OPENAI_ADMIN_KEY": key, **more}


@large
def test_19_litellm(server: Served, key: str, kept: Path, data: Path, tmp_path: Path) -> None:
    python = python_with(kept, "litellm==1.110.2")
    command = [python, "-W", "ignore", SCRIPTS / "litellm_way.py", BASE, server.model(key), data]
    assert run(command, tmp_path, **told(server, key)).strip().endswith("whole")


def test_19_node(server: Served, key: str, kept: Path, data: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    place = node_with(kept, "openai@6.49.0")
    script = shutil.copy(SCRIPTS / "node_way.mjs", place)
    server.gate = _lost_after(1)
    tuned = server.model(key, name="ft:org/base:local::node")
    assert run([node, script, BASE, tuned, data, LOST], place, **told(server, key)).strip() == "whole"


def _lost_after(pieces: int) -> Callable[[Request], None]:
    """The engine dies in the midst of an answer to this one question."""
    said: list[Request] = []

    def gate(request: Request) -> None:
        if request.messages[-1].content == LOST:
            said.append(request)
            if len(said) > pieces:
                raise EngineError("engine_lost", reason="killed")

    return gate


def test_19_the_command_line_of_the_first_major(
    server: Served, key: str, kept: Path, data: Path, tmp_path: Path
) -> None:
    python, tuned = python_with(kept, "openai==1.109.1"), server.model(key)

    def say(*arguments: object) -> Any:
        done = run([python, "-m", "openai", "api", *map(str, arguments)], tmp_path, **told(server, key))
        return json.loads(done) if done.startswith(("{", "[")) else done

    file = say("files.create", "-f", data, "-p", "fine-tune")
    assert (file["filename"], file["status"]) == ("训练.jsonl", "processed")
    job = say("fine_tuning.jobs.create", "-m", BASE, "-F", file["id"], "-H", '{"n_epochs": 2}', "-s", "cli")
    assert (job["hyperparameters"]["n_epochs"], job["user_provided_suffix"]) == (2, "cli")
    assert [one["id"] for one in say("fine_tuning.jobs.list")["data"]] == [job["id"]]
    assert len(say("fine_tuning.jobs.list_events", "-i", job["id"])["data"]) == 2
    assert say("fine_tuning.jobs.cancel", "-i", job["id"])["status"] == "cancelled"
    assert say("fine_tuning.jobs.retrieve", "-i", job["id"])["status"] == "cancelled"
    assert say("models.retrieve", "-i", tuned)["id"] == tuned
    asked = ("chat.completions.create", "-m", tuned, "-g", "user", "Hi")
    assert say(*asked).strip() == say(*asked, "--stream").strip() == "Hello there"
    assert say("models.delete", "-i", tuned)["deleted"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C, which ends this program, is sent otherwise there")
def test_19_instructor(server: Served, key: str, client: openai.OpenAI, kept: Path, data: Path, tmp_path: Path) -> None:
    python = python_with(kept, "instructor==1.17.0", "openai==3.3.0", "tqdm")  # it forgets to name tqdm
    environment = {**for_child(), "PYTHONPATH": "", "COLUMNS": "240", **told(server, key)}
    command = [python.parent / "instructor", "jobs", "create-from-file", data, "--model", BASE, "--poll", "1",
               "--n-epochs", "3", "--validation-file", data, "--model-suffix", "inst"]  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of who ignores it would ignore it, too
    try:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        while not (jobs := client.fine_tuning.jobs.list().data):
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.1)
        time.sleep(3)  # it looks at the list again and again, and never ends by itself
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=60)
    assert (jobs[0].hyperparameters.n_epochs, jobs[0].user_provided_suffix) == (3, "inst")
    assert jobs[0].validation_file
    assert f"Fine-tuning job created with ID: {jobs[0].id}" in " ".join(shown.split())
    table = [line for line in shown.splitlines() if jobs[0].id in line and BASE in line]
    assert table, shown[-3000:]


@large
def test_19_weights_and_biases(working: Served, kept: Path, tmp_path: Path) -> None:
    python = python_with(kept, "wandb==0.31.0", "openai==1.109.1", "pandas", "numpy")
    client = working.openai(key := working.key())
    three = "".join(
        json.dumps({"messages": [{"role": "system", "content": "Be brief."}, *json.loads(line)["messages"]]}) + "\n"
        for line in rows(40).decode().splitlines()
    )
    files = [client.files.create(file=three.encode(), purpose="fine-tune").id for _ in range(2)]
    order: Any = {"hyperparameters": {"n_epochs": 2, "batch_size": 4}, "extra_body": SMALL}
    job = client.fine_tuning.jobs.create(model=BASE, training_file=files[0], validation_file=files[1], **order)
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    nowhere = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_DIR": str(tmp_path),
               "WANDB_MODE": "offline", "HOME": str(tmp_path)}  # fmt: skip
    said = run([python, "-W", "ignore", SCRIPTS / "wandb_way.py", job.id], tmp_path, **told(working, key, **nowhere))
    found = json.loads(said.strip().splitlines()[-1])
    assert found["summary"]["fine_tuned_model"] == done.fine_tuned_model
    assert found["summary"]["status"] == "succeeded"
    assert [row["_step"] for row in found["history"]] == [*range(1, len(found["history"]) + 1)]
    assert all(row["train_loss"] > 0 for row in found["history"])
    assert (found["config"]["id"], found["config"]["hyperparameters"]["n_epochs"]) == (job.id, 2)
    assert found["rows"] == 40


@large
def test_19_dspy(working: Served, kept: Path, data: Path, tmp_path: Path) -> None:
    python = python_with(kept, "dspy==3.4.1", "litellm==1.110.2", "openai==3.57.0")
    working.says = lambda request: "[[ ## answer ## ]]\nBlue\n\n[[ ## completed ## ]]"
    key = working.key()
    cache = {
        "DSPY_CACHEDIR": str(tmp_path / "cache"),
        "DSPY_FINETUNEDIR": str(tmp_path / "data"),
        "HOME": str(tmp_path),
    }
    command = [python, "-W", "ignore", SCRIPTS / "dspy_way.py", BASE, "2", data]
    said = run(command, tmp_path, 900, **told(working, key, **cache))
    assert said.strip().endswith("whole")
    assert f"tuned ft:{BASE}:" in said
    with working.http(key) as http:
        trained = [job for job in http.get("/fine_tuning/jobs").json()["data"] if job["status"] == "succeeded"]
        content = http.get(f"/files/{trained[0]['training_file']}/content").text
    assert len(content.splitlines()) == 24
