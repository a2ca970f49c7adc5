"""Before and after, where a task is no plain chat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from postil.model import adapt
from postil.model.load import load_base
from postil.model.pair import pair_on
from postil.model.pairs import Margin
from postil.records import Adapter
from tests.models import dialogue, opened, plan, titles
from tests.sided import build_bart, build_t5, rewrites


def spoken(loaded, how):
    """A pair whose adapter says something else than its base."""
    model = adapt.attach(loaded.model, how, "base")
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return pair_on(replace(loaded, model=model.eval()), Adapter(Path("none"), "base", Path("none"), "", how))


@pytest.fixture(scope="module", params=[build_t5, build_bart])
def rewriting(request, tmp_path_factory):
    directory = request.param(tmp_path_factory.mktemp("sided"))
    return spoken(load_base(directory, task="seq_2_seq_lm"), plan(task="seq_2_seq_lm", max_new_tokens=7))


def test_rewriting_is_the_same_alone_and_in_company(rewriting):
    examples = rewrites(40)  # more than are written at once
    heard = []
    together = rewriting.answers([example.question for example in examples], tuned=True, tell=heard.append)
    alone = [rewriting.answers([example.question], tuned=True)[0] for example in examples[:6]]
    assert together[:6] == alone and heard == [32, 40]
    assert all((answer.tokens <= 7 and answer.stopped == (answer.tokens < 7)) or answer.stopped for answer in together)
    said = []
    assert rewriting.stream(examples[0].question, said.append, tuned=True) == alone[0]
    assert "".join(said).strip() == alone[0].text
    losses = rewriting.losses(examples, tuned=True)
    assert losses[:3] == pytest.approx([rewriting.losses([one], tuned=True)[0] for one in examples[:3]], rel=1e-4)
    assert losses != pytest.approx(rewriting.losses(examples, tuned=False), rel=1e-3)
    assert rewriting.losses_of_texts(["any"], tuned=True) is None


def test_switched_off_an_encoder_decoder_is_its_base(tmp_path):
    build_t5(tmp_path)
    how = plan(task="seq_2_seq_lm", max_new_tokens=7)
    pair, plain = spoken(load_base(tmp_path, task="seq_2_seq_lm"), how), load_base(tmp_path, task="seq_2_seq_lm").model
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode(), pair._switched(False):
        off = pair._loaded.model(input_ids=ids, decoder_input_ids=ids[:, :5]).logits
        assert torch.equal(off, plain(input_ids=ids, decoder_input_ids=ids[:, :5]).logits)


def test_a_text_goes_on_without_a_template(base):
    pair = spoken(opened(base("qwen2")), plan(task="pretraining", max_new_tokens=5, max_length=32))
    example = dialogue(("assistant", "The order was sent yesterday. " * 6))
    asked = pair.asks(example)
    (answer,) = pair.answers([asked.question], tuned=True)
    prompt = torch.tensor([pair._loaded.tokenizer.encode(asked.question[0].content)])
    with torch.inference_mode():
        first = int(pair._loaded.model(input_ids=prompt).logits[0, -1].argmax())
    assert answer.text.startswith(pair._loaded.tokenizer.decode([first]).strip())
    whole = pair.losses([example, dialogue(("assistant", "谢谢"))], tuned=True)
    assert len(whole) == 2 and all(loss > 0 for loss in whole)


def test_margins_are_those_of_rows_alone_and_rewards_are_what_tuning_added(base):
    pair = spoken(opened(base("qwen2")), plan(task="dpo", dpo_beta=0.5))
    examples = [*(replace(one, rejected=f"no {i}") for i, one in enumerate(titles(5))), titles(6)[5]]
    on, off = (pair.margins(examples, tuned=tuned) for tuned in (True, False))
    assert on[-1] == off[-1] == Margin(0.0, 0.0)  # nothing to compare
    alone = [pair.margins([one], tuned=True)[0] for one in examples[:2]]
    assert [one.summed for one in on[:2]] == pytest.approx([one.summed for one in alone], rel=1e-4)
    for example, margin in zip(examples[:3], off, strict=False):
        chosen, rejected = (
            pair.losses([replace(example, messages=(*example.question, replace(example.messages[-1], content=text)))],
                        tuned=False)[0] for text in (example.answer, example.rejected)
        )  # fmt: skip
        lengths = [len(pair._loaded.tokenizer.encode(text)) + 1 for text in (example.answer, example.rejected)]
        assert margin.summed == pytest.approx(rejected * lengths[1] - chosen * lengths[0], rel=1e-3)
        assert margin.per_token == pytest.approx(rejected - chosen, rel=1e-3)
    assert pair.rewards(examples) == pytest.approx([0.5 * (a.summed - b.summed) for a, b in zip(on, off, strict=True)])
