"""Sequences become tensors: nothing lost, nothing counted twice, the shared beginning laid out once."""

import pytest
import torch

from postil.model.layout import FEWEST_SHARED, by_length, lay_out, weight_of
from postil.model.template import Tokens


def tokens(ids, weights):
    return Tokens(tuple(ids), tuple(map(float, weights)), ())


def prefixed(common, *tails):
    """Sequences with `common` tokens in common and then (tail, learned tokens at its end)."""
    return [tokens([*range(1, common + 1), *tail], [0] * (common + len(tail) - n) + [1] * n) for tail, n in tails]


def counted(batch, sequences):
    """(row, index in the sequence, target) of every prediction, in terms of the sequences themselves."""
    start = 0 if batch.prefix is None else batch.prefix.shape[1]
    found = list(zip(batch.rows.tolist(), (batch.places + 1 + start).tolist(), batch.targets.tolist(), strict=True))
    assert all(sequences[row].ids[at] == target for row, at, target in found)
    return {(row, at) for row, at, _ in found}


def test_groups_hold_every_sequence_once_and_respect_the_limit():
    sequences = [tokens([1] * n, [0] * n) for n in (5, 90, 3, 40, 41, 7, 200)]
    groups = by_length(sequences, 100)
    assert sorted(i for group in groups for i in group) == list(range(7))
    for group in groups:
        assert len(group) == 1 or len(group) * max(len(sequences[i].ids) for i in group) <= 100
    assert groups == [[2, 0, 5], [3, 4], [1], [6]]


@pytest.mark.parametrize("share", [False, True])
def test_each_learned_token_is_predicted_once_from_the_place_before_it(share):
    sequences = prefixed(20, ([50, 51, 52], 2), ([60, 61], 1), ([70, 71, 72, 73, 74], 3))
    batch = lay_out(sequences, share=share)
    assert counted(batch, sequences) == {(0, 21), (0, 22), (1, 21), (2, 22), (2, 23), (2, 24)}
    assert float(batch.weights.sum()) == sum(weight_of(s) for s in sequences) == 6


def test_the_shared_beginning_is_laid_out_once():
    sequences = prefixed(20, ([50, 51, 52], 2), ([60, 61], 1))
    batch = lay_out(sequences, share=True)
    assert batch.prefix is not None and batch.prefix.tolist() == [list(range(1, 21))]
    assert batch.ids.tolist() == [[50, 51, 52], [60, 61, 0]]


def test_what_predicts_something_that_counts_is_not_shared():
    """Sequences whose first learned token comes right after what they have in common, or inside it."""
    sequences = prefixed(20, ([50], 1), ([60], 1))
    batch = lay_out(sequences, share=True)
    assert batch.prefix is not None and batch.prefix.shape[1] == 19  # the last one predicts the answer
    sequences = [tokens(range(1, 31), [0] * 18 + [1] * 12), tokens(range(1, 31), [0] * 25 + [1] * 5)]
    batch = lay_out(sequences, share=True)
    assert batch.prefix is not None and batch.prefix.shape[1] == 17
    assert len(counted(batch, sequences)) == 17


@pytest.mark.parametrize(
    "sequences",
    [
        prefixed(FEWEST_SHARED - 1, ([50, 51], 1), ([60, 61], 1)),  # too short to pay
        prefixed(40, ([50, 51], 1)),  # nobody to share with
        prefixed(0, ([50, 51], 1), ([60, 61], 1)),
    ],
)
def test_nothing_is_shared_where_it_does_not_pay(sequences):
    assert lay_out(sequences, share=True).prefix is None


def test_a_sequence_that_is_the_beginning_of_another():
    sequences = [tokens(range(1, 25), [0] * 22 + [1] * 2), tokens(range(1, 41), [0] * 30 + [1] * 10)]
    batch = lay_out(sequences, share=True)
    assert batch.prefix is not None and batch.prefix.shape[1] == 21
    assert len(counted(batch, sequences)) == 12


def test_prompt_tokens_count_with_their_own_weight_and_are_then_not_shared():
    sequences = prefixed(20, ([50, 51, 52], 2), ([60, 61], 1))
    batch = lay_out(sequences, 0.1, share=True)
    assert batch.prefix is None
    assert len(batch.targets) == 22 + 21  # all but the first token of each
    assert float(batch.weights.sum()) == pytest.approx(sum(weight_of(s, 0.1) for s in sequences))
    assert weight_of(sequences[0], 0.1) == pytest.approx(20 * 0.1 + 2)


def test_fractional_weights_are_kept():
    batch = lay_out([tokens([1, 2, 3, 4], [0, 0.5, 0, 1])])
    assert batch.weights.tolist() == [0.5, 1.0] and batch.places.tolist() == [0, 2]


def test_the_first_token_of_a_sequence_has_nothing_to_be_predicted_from():
    batch = lay_out([tokens([7, 8], [1, 1])])
    assert batch.targets.tolist() == [8] and weight_of(tokens([7, 8], [1, 1])) == 1


def test_a_batch_in_which_nothing_counts():
    batch = lay_out([tokens([1, 2, 3], [0, 0, 0])])
    assert batch.targets.dtype == torch.long and len(batch.targets) == 0
