"""Tokens are chosen as the row was told, and by its own seed."""

import pytest
import torch

from postil.model.sample import BLOCK, Chooser, Sampling, choose_all, likeliest

LOGITS = torch.tensor([0.1, 3.0, 2.9, -5.0, 1.0])


def drawn(count=400, logits=LOGITS, **how):
    chooser = Chooser(Sampling(**{"temperature": 1.0, **how}))
    return [chooser.choose(logits) for _ in range(count)]


def test_without_temperature_the_likeliest_is_taken():
    assert Chooser(Sampling()).choose(LOGITS) == 1 and Sampling().plain
    assert choose_all([Chooser(Sampling()), Chooser(Sampling(logit_bias={4: 9.0}))], torch.stack([LOGITS] * 2)) == [
        1,
        4,
    ]


@pytest.mark.parametrize("vocabulary", [5, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 4 * BLOCK])
def test_the_likeliest_is_the_first_of_the_largest_wherever_it_stands(vocabulary):
    places = sorted({0, 1, vocabulary // 2, vocabulary - 2, vocabulary - 1})
    logits = torch.randn(len(places), vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    for row, place in zip(logits, places, strict=True):
        row[place] = row[-1] = 9.0
    assert likeliest(logits).tolist() == places == logits.argmax(-1).tolist()
    logits[0, vocabulary // 3] = float("nan")
    assert likeliest(logits).tolist() == logits.argmax(-1).tolist()
    assert likeliest(logits[:0]).tolist() == []


def test_frequencies_are_those_of_the_model():
    counts = torch.bincount(torch.tensor(drawn(4000)), minlength=5) / 4000
    assert torch.allclose(counts, torch.softmax(LOGITS, -1), atol=0.03)
    cold = drawn(temperature=0.05)
    assert set(cold) == {1, 2} and cold.count(1) > cold.count(2)


def test_top_p_keeps_the_fewest_that_have_it():
    """The chances are 0.47, 0.42, 0.06, 0.03 and less."""
    assert set(drawn(top_p=0.4)) == {1}
    assert set(drawn(top_p=0.5)) == {1, 2}
    assert set(drawn(top_p=0.92)) == {1, 2, 4}
    assert set(drawn(top_p=1e-9)) == {1}


def test_a_seed_is_a_row_of_its_own():
    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    one, other = Chooser(Sampling(1.0, seed=1)), Chooser(Sampling(1.0, seed=2))
    together = [choose_all([one, other], torch.stack([LOGITS] * 2))[0] for _ in range(20)]
    assert together == drawn(20, seed=1)


def test_penalties_and_biases():
    chooser = Chooser(Sampling(presence_penalty=0.5))
    assert [chooser.choose(LOGITS) for _ in range(3)] == [1, 2, 1]
    often = Chooser(Sampling(frequency_penalty=0.06))
    assert [often.choose(LOGITS) for _ in range(5)] == [1, 1, 2, 1, 2]
    assert Chooser(Sampling(logit_bias={1: -100, 77: 5.0})).choose(LOGITS) == 2


@pytest.mark.parametrize("how", [{}, {"top_p": 0.5}, {"frequency_penalty": 2.0}])
def test_what_the_model_said_is_left_as_it_was(how):
    logits = LOGITS.clone()
    drawn(3, logits, **how)
    assert torch.equal(logits, LOGITS)
