"""What lies in a run's directory is read as it was written, and nobody else's files are touched."""

import pytest

from postil.errors import AdapterError, TrainError
from postil.train import examples_of, read_adapter
from tests.models import CHAT, dialogue
from tests.runs import laid_out


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("own", ["notes.txt", "plan.json"])
def test_other_peoples_files_are_never_touched(tmp_path, base, force, own):
    """Not even when they happen to be called plan.json."""
    (tmp_path / own).write_text('{"plan": "lose weight"}')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photos").write_text("mine")
    with pytest.raises(TrainError) as refused:
        laid_out(tmp_path, base("llama3"), force=force)
    assert refused.value.code == "directory_not_empty"
    assert (tmp_path / "data" / "photos").read_text() == "mine"


def test_a_run_without_adapter_is_not_finished(tmp_path, base):
    laid_out(tmp_path / "out", base("llama3"))
    with pytest.raises(AdapterError) as refused:
        read_adapter(tmp_path / "out")
    assert refused.value.code == "adapter_unfinished"


def test_examples_come_back_as_they_were(tmp_path, base):
    call = {"id": "1", "type": "function", "function": {"name": "order", "arguments": "{}"}}
    rich = dialogue(
        ("system", "s\u2028 🙂"), ("user", "q\n\"x\""), ("assistant", "", 0.5, {"tool_calls": [call]}),
        ("tool", "sent", 1.0, {"tool_call_id": "1"}), ("assistant", "a"), rows=(3, 4), tools=({"type": "function"},),
    )  # fmt: skip
    laid_out(tmp_path / "out", base("qwen2"), training=[rich, CHAT], validation=[])
    assert examples_of(tmp_path / "out", "training") == (rich, CHAT)
    assert examples_of(tmp_path / "out", "test") == ()
