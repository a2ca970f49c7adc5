"""Where answers are computed when nobody says it. The cards are made up; tests/gpu asks a real one."""

import pytest
import torch

from postil.errors import PlanError
from postil.model.load import load_base
from postil.serve import open_engine
from postil.serve.place import ROOM_BYTES, place

GB = 1 << 30


@pytest.fixture
def card(monkeypatch):
    """A card with so much free memory, and with bfloat16 or without."""

    def put_in(free, *, halves=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: free is not None)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80 * GB))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: halves)

    return put_in


def test_a_gpu_is_used_if_there_is_one_with_room(card, base):
    path = base("qwen2")
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    card(None)
    assert place(path, "auto", "auto") == ("cpu", "float32")
    card(weights + ROOM_BYTES)
    assert place(path, "auto", "auto") == ("cpu", "float32")
    card(weights + ROOM_BYTES + 1)
    assert place(path, "auto", "auto") == ("cuda", "bfloat16")
    card(16 * GB, halves=False)
    assert place(path, "auto", "auto") == ("cuda", "float32")


def test_what_was_said_is_done(card, base):
    path = base("qwen2")
    card(80 * GB)
    assert place(path, "cpu", "auto") == ("cpu", "float32")
    assert place(path, "cuda:1", "auto") == ("cuda:1", "bfloat16")
    assert place(path, "auto", "float32") == ("cuda", "float32")
    card(0)
    assert place(path, "cuda", "auto") == ("cuda", "bfloat16")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_card_that_is_not_here_is_told_to_who_asks(base):
    engine = open_engine(base("qwen2"), device="cuda")
    try:
        with pytest.raises(PlanError) as refused:
            engine.ensure(base("qwen2"))
        assert refused.value.code == "device_missing"
    finally:
        engine.close()


def test_a_model_for_which_the_device_has_no_memory(base, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(Exception) as refused:
        load_base(base("qwen2"))
    assert getattr(refused.value, "code", "") == "model_memory"
