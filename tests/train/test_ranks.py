"""Two processes give the adapter of one, up to rounding, and can be resumed by any number."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from postil.settings import for_child
from postil.train import run
from tests.models import CHAT, titles
from tests.runs import laid_out

PROGRAM = """
import sys
from pathlib import Path
from postil.settings import quiet
quiet()
from postil.errors import TrainError
from postil.train import run
asked = iter([False] * int(sys.argv[2]) + [True] * 99)
try:
    run(Path(sys.argv[1]), lambda event: print(event.type), stop=lambda: next(asked))
except TrainError as error:
    sys.exit({"interrupted": 75}.get(error.code, 1))
"""


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def together(directory, stop_after=10_000):
    """Run two ranks to the end. Returns (exit code, what it printed) of each."""
    port = str(free_port())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(directory), str(stop_after)], stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2], env={**for_child(), "RANK": str(rank), "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]  # fmt: skip
    printed = [rank.communicate(timeout=200)[0] for rank in ranks]
    return [(rank.returncode, text) for rank, text in zip(ranks, printed, strict=True)]


def difference(one, other):
    """The largest difference of two adapters, relative to the largest number in them."""
    a, b = (load_file(directory / "adapter_model.safetensors") for directory in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a) / max(float(a[name].abs().max()) for name in a)


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    """A run in one process. 13 examples in updates of 4: the last of an epoch is a single row, so a rank has none."""
    directory = tmp_path_factory.mktemp("alone") / "out"
    lay_out(directory, base)
    return directory, run(directory, lambda event: None)


def lay_out(directory, base):
    laid_out(directory, base("qwen2"), training=[*titles(12), CHAT], validation=titles(15)[12:], batch_size=4,
             n_epochs=3, learning_rate=1e-3, save_steps=4)  # fmt: skip


@pytest.mark.slow
def test_two_processes_give_the_adapter_of_one(alone, base, tmp_path):
    lay_out(tmp_path / "out", base)
    (code, said), (other, silent) = together(tmp_path / "out")
    assert (code, other) == (0, 0)
    assert said.split().count("metrics") == 12 and not silent  # rank 0 alone speaks
    error = difference(tmp_path / "out", alone[0])
    print(f"relative difference of two ranks from one: {error:.1e}")
    assert error < 1e-5
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["trained_tokens"] == alone[1]["trained_tokens"]
    assert result["validation_loss"] == pytest.approx(alone[1]["validation_loss"], rel=1e-5)


@pytest.mark.slow
def test_both_stop_after_the_same_update_and_one_process_can_finish(alone, base, tmp_path):
    lay_out(tmp_path / "out", base)
    assert [code for code, _ in together(tmp_path / "out", stop_after=4)] == [75, 75]
    newest = sorted((tmp_path / "out" / "checkpoints").glob("step-*"))[-1]
    assert newest.name == "step-00000005"
    (newest / "state.json").write_text("broken")  # rank 0 sets it aside while the other waits
    assert [code for code, _ in together(tmp_path / "out", stop_after=2)] == [75, 75]
    run(tmp_path / "out", lambda event: None)
    assert difference(tmp_path / "out", alone[0]) < 1e-5
