"""Exports of the real demonstration model, asked in plain transformers and in a real llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from postil import export as room
from postil import flow
from postil.bases import fingerprint
from postil.dataset import ask
from postil.export.llamacpp import installed
from postil.records import Adapter, Target
from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM
from tests.export.made import nothing
from tests.models import opened, plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
TITLES = ("蓝色连衣裙 女 夏季新款 收腰显瘦", "保温杯 大容量 304不锈钢 便携", "Wireless mouse, silent, for laptops")
TARGETS: list[tuple[Target, str | None, float]] = [
    ("merged", None, 0.01), ("merged", "bfloat16", 1.2), ("gguf", "f16", 0.05), ("gguf-lora", "f16", 0.05),
    ("gguf", "q8_0", 1.5),
]  # fmt: skip


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """Not trained, but as strong as one that is: what matters here is that numbers and words are carried over."""
    base = flow.fetched(flow.find_base(flow.EMBEDDED))
    assert base.path is not None
    directory = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
    model = get_peft_model(opened(base.path).model, config)
    random = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=random) * 0.01
    model.save_pretrained(directory)
    told = plan(r=8, max_new_tokens=24, system=TITLES_SYSTEM, instruction=TITLES_INSTRUCTION)
    return Adapter(directory, base.name, base.path, fingerprint(base), told)


@pytest.mark.parametrize(("to", "kind", "worst"), TARGETS, ids=[f"{to} {kind}" for to, kind, _ in TARGETS])
def test_it_says_the_same(adapter: Adapter, tmp_path: Path, to: Target, kind: str | None, worst: float) -> None:
    if to.startswith("gguf") and not installed():
        pytest.skip("no llama.cpp (package xllamacpp)")
    questions = [ask(title, TITLES_SYSTEM, TITLES_INSTRUCTION) for title in TITLES]
    wanted = room.Wanted(to, kind, "titles", adapter.base, questions)
    made = room.export(adapter, wanted, tmp_path / "out", nothing)
    certificate: dict[str, Any] = made["parity"]["certificates"][0]
    assert certificate["outcome"] == "pass", certificate["words"]
    assert certificate["difference"] <= worst
