"""The model is kept near its base on texts of the base's own; the rows are learned all the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from postil import flow
from postil.errors import TrainError
from postil.evaluate import neutral_texts
from postil.model.adapt import METHODS, attach
from postil.model.load import Loaded
from postil.model.own_texts import COUNT, LENGTH, TEXTS_FILE, own_texts
from postil.settings import Ranks
from postil.train.anchor import Anchor, texts_of
from postil.train.learner import Learner
from postil.train.objectives import objective
from tests.models import Build, opened, plan, titles

METHODS_HERE = [name for name, method in METHODS.items() if not method.four_bits]


def adapted(base: Build, family: str = "qwen2", **values: object) -> Loaded:
    loaded = opened(base(family))
    return replace(loaded, model=attach(loaded.model, plan(**values), "tiny"))


def shaken(loaded: Loaded) -> None:
    """An adapter that says something else than its base."""
    torch.manual_seed(3)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)


def plainly(loaded: Loaded, texts: list[tuple[int, ...]]) -> torch.Tensor:
    """KL(base || tuned) per token, by logits."""
    ids = torch.tensor(texts)
    with torch.no_grad(), loaded.model.disable_adapter():
        wanted = loaded.model(input_ids=ids, use_cache=False).logits[:, :-1].float().log_softmax(-1)
    said = loaded.model(input_ids=ids, use_cache=False).logits[:, -LENGTH:-1].float().log_softmax(-1)
    return F.kl_div(said, wanted, reduction="none", log_target=True).sum(-1).mean()


@pytest.mark.parametrize("family", ["qwen2", "gemma3", "llama3", "phi"])
def test_the_texts_are_the_bases_own_and_the_same_each_time(base: Build, family: str) -> None:
    loaded = adapted(base, family)
    texts = own_texts(loaded, 7)
    assert len(texts) == COUNT and all(0 < len(ids) - LENGTH <= 1 or len(ids) == LENGTH for ids in texts)
    shaken(loaded)
    assert own_texts(loaded, 7) == texts, "the adapter has no part in them"
    assert own_texts(loaded, 8) != texts and len(set(texts)) > COUNT // 2


@pytest.mark.parametrize(("family", "cap"), [("qwen2", None), ("phi", None), ("llama3", None), ("gemma3", 0.5)])
def test_the_divergence_and_its_gradient_are_those_of_the_logits(base: Build, family: str, cap: float | None) -> None:
    """A head alone, with a bias, tied to the embeddings, and one after which logits are capped."""
    loaded = opened(base(family))
    if cap is not None:
        loaded.model.config.get_text_config().final_logit_softcapping = cap
    loaded = replace(loaded, model=attach(loaded.model, plan(), "tiny"))
    texts = own_texts(loaded, 7)
    anchor = Anchor(loaded.model, texts, "cpu")
    none = anchor.pull(0, Ranks())
    assert none is not None and abs(float(none.detach())) < 1e-6, "a fresh adapter says what its base says"
    shaken(loaded)
    learned = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    for step in (0, 1, COUNT):
        wanted, found = plainly(loaded, texts[step % COUNT : step % COUNT + 1]), anchor.pull(step, Ranks())
        assert found is not None and found.item() == pytest.approx(wanted.item(), rel=1e-4) and found.item() > 1e-4
        for one, other in zip(torch.autograd.grad(found, learned), torch.autograd.grad(wanted, learned), strict=True):
            assert float((one - other).norm()) <= 1e-4 * float(other.norm()) + 1e-9


@pytest.mark.parametrize("method", METHODS_HERE)
def test_every_method_can_be_kept_near_its_base(base: Build, method: str) -> None:
    loaded = adapted(base, method=method)
    anchor = Anchor(loaded.model, own_texts(loaded, 7), "cpu")
    before = anchor.pull(0, Ranks())
    assert before is not None and (abs(float(before.detach())) < 1e-6 or not METHODS[method].starts_as_base)
    shaken(loaded)
    pull = anchor.pull(0, Ranks())
    assert pull is not None and pull.item() > 1e-7
    pull.backward()  # type: ignore[no-untyped-call]
    grads = [float(p.grad.norm()) for p in loaded.model.parameters() if p.requires_grad and p.grad is not None]
    assert grads and max(grads) > 0


def test_the_same_training_ends_nearer_to_its_base_and_learns_its_rows(base: Build) -> None:
    ends: dict[float, tuple[float, float]] = {}
    for weight in (0.0, 1.0):
        chosen = plan(kl_weight=weight)
        loaded = adapted(base, kl_weight=weight)
        texts = own_texts(loaded, 7)
        learned = objective(loaded.model, chosen)
        rows = learned.sequences(list(titles(8)), loaded.template)
        anchor = Anchor(loaded.model, texts[: COUNT // 2], "cpu")
        learner = Learner(learned, chosen, Ranks(), anchor if weight else None)
        losses = [learner.update(step, rows, 5e-3) for step in range(40)]
        with torch.no_grad():
            ends[weight] = losses[-1], float(plainly(loaded, texts[COUNT // 2 :]))  # texts that it was not kept by
    (free, far), (kept, near) = ends[0.0], ends[1.0]
    assert near < 0.7 * far and kept < free + 0.1, ends


def test_several_processes_take_turns(base: Build) -> None:
    loaded = adapted(base)
    anchor = Anchor(loaded.model, own_texts(loaded, 7), "cpu")
    shaken(loaded)
    alone = [anchor.pull(step, Ranks()) for step in range(3)]
    pairs = [[anchor.pull(step, Ranks(rank, rank, 2)) for rank in (0, 1)] for step in range(3)]
    for one, pair in zip(alone, pairs, strict=True):
        (pulled,) = [each.item() for each in pair if each is not None]
        assert one is not None and pulled == one.item()


def test_a_run_reads_the_same_texts_again_and_says_when_they_are_damaged(base: Build, tmp_path: Path) -> None:
    loaded = adapted(base)
    (tmp_path / "data").mkdir()
    texts = texts_of(tmp_path, loaded, 7)
    assert texts == [list(ids) for ids in own_texts(loaded, 7)]
    assert texts_of(tmp_path, loaded, 99) == texts
    (tmp_path / TEXTS_FILE).write_text(json.dumps({"ids": "?"}))
    with pytest.raises(TrainError) as refused:
        texts_of(tmp_path, loaded, 7)
    assert refused.value.code == "data_changed"


@pytest.mark.slow
def test_the_texts_hold_nothing_of_the_guard() -> None:
    """What keeps the model must not be what measures whether it was kept."""
    path = flow.fetched(flow.find_base(flow.EMBEDDED)).path
    assert path is not None
    loaded = opened(path)
    loaded = replace(loaded, model=attach(loaded.model, plan(), "embedded"))
    said = [loaded.tokenizer.decode(list(ids)) for ids in own_texts(loaded, 42)]
    pieces = {text[i : i + 20] for text in said for i in range(len(text) - 19)}
    assert not [text for text in neutral_texts() for i in range(len(text) - 19) if text[i : i + 20] in pieces]
