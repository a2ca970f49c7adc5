"""One base, two voices: with the adapter off it is the untouched base, to the bit."""

from dataclasses import replace

import pytest
import torch

from postil.model import adapt
from postil.model.pair import open_pair
from postil.model.trust import fingerprint
from postil.records import Adapter, Message
from tests.models import CHAT, opened, plan, titles


@pytest.fixture
def pair(base, tmp_path):
    """A pair whose adapter says something else than its base."""

    def build(family):
        adapted = adapt.attach(opened(base(family)).model, plan(max_new_tokens=8), str(base(family)))
        weights = adapt.weights_of(adapted)
        for i, (name, tensor) in enumerate(weights.items()):
            weights[name] = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i)) * 0.2
        (tmp_path / adapt.CONFIG).write_bytes(adapt.config_bytes(adapted))
        (tmp_path / adapt.WEIGHTS).write_bytes(adapt.to_bytes(weights))
        path = base(family)
        return open_pair(Adapter(tmp_path, family, path, fingerprint(path), plan(max_new_tokens=8)))

    return build


@pytest.mark.parametrize("family", ["qwen2", "gemma3", "phi", "llama3"])
def test_switched_off_it_is_the_untouched_base_to_the_bit(base, pair, family):
    both, plain = pair(family), opened(base(family)).model
    ids = torch.arange(10, 60)[None]
    with torch.inference_mode():
        expected = plain(input_ids=ids).logits
        tuned = both._loaded.model(input_ids=ids).logits
        for _ in range(2):  # also after it was on in between
            with both._switched(False):
                assert torch.equal(both._loaded.model(input_ids=ids).logits, expected)
            with both._switched(True):
                assert torch.equal(both._loaded.model(input_ids=ids).logits, tuned)
    assert not torch.equal(tuned, expected)


def test_answers_of_both(pair):
    both = pair("qwen2")
    questions = [example.question for example in titles(3)]
    off, on = (both.answers(questions, tuned=tuned) for tuned in (False, True))
    assert off != on and both.answers(questions, tuned=False) == off
    assert all(answer.tokens <= 3 for answer in both.answers(questions, tuned=True, max_new_tokens=3))
    heard = []
    assert both.stream(questions[0], heard.append, tuned=True) == on[0]
    assert "".join(heard).strip() == on[0].text


def test_the_loss_of_each_example_is_its_own(pair):
    """Also of rows that nobody trained on, in any company, and of dialogues that take several sequences."""
    both = pair("qwen3")
    examples = [*titles(4), CHAT]
    together = both.losses(examples, tuned=True)
    alone = [both.losses([example], tuned=True)[0] for example in examples]
    assert together == pytest.approx(alone, rel=1e-5) and all(loss > 0 for loss in together)
    assert together != pytest.approx(both.losses(examples, tuned=False), rel=1e-3)


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_answers_and_losses_in_one_go_are_those_of_each(pair, family):
    """Also of rows of several turns, of those in which nothing counts, and of a model with windows."""
    both = pair(family)
    silent = replace(CHAT, messages=(Message("user", "q"), Message("assistant", "a", 0.0)))
    examples = [*titles(4), CHAT, silent]
    for tuned in (False, True):
        answers, losses = both.tried(examples, tuned=tuned)
        assert answers == both.answers([example.question for example in examples], tuned=tuned)
        assert losses == pytest.approx(both.losses(examples, tuned=tuned), rel=1e-4)


def test_an_example_in_which_nothing_counts_has_no_loss(pair):
    silent = replace(CHAT, messages=(Message("user", "q"), Message("assistant", "a", 0.0)))
    assert pair("qwen2").losses([silent], tuned=False) == [0.0]


def test_the_loss_of_plain_texts(pair):
    both = pair("llama3")
    losses = both.losses_of_texts(["The order was sent.", "谢谢", ""], tuned=False)
    assert losses[0] > 0 and losses[1] > 0 and losses[2] == 0.0
    assert both.losses_of_texts(["谢谢"], tuned=False)[0] == pytest.approx(losses[1], rel=1e-5)
