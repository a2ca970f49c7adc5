"""Sequences become tensors: nothing lost, nothing counted twice, shared beginnings laid out once."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask

from postil.model.attention import block_mask
from postil.model.layout import FEWEST_SHARED, by_length, lay_out, pack, packs, pad, weight_of
from postil.model.pieces import LONGEST_PIECE
from postil.model.template import Tokens


def tokens(ids, weights):
    return Tokens(tuple(ids), tuple(map(float, weights)), ())


def prefixed(common, *tails):
    """Sequences with `common` tokens in common and then (tail, learned tokens at its end)."""
    return [tokens([*range(1, common + 1), *tail], [0] * (common + len(tail) - n) + [1] * n) for tail, n in tails]


def path(batch, place):
    """What a token of a pack sees, itself last: by the pieces."""
    (piece,) = [piece for piece in batch.packed.pieces if piece.start <= place < piece.end]
    return [at for start, end in piece.before for at in range(start, end)] + list(range(piece.start, place + 1))


def counted(batch, sequences):
    """(sequence, index in it) of every prediction; in a pack, what it sees is checked against the sequence itself."""
    found = []
    for row, place, target, owner in zip(
        batch.rows.tolist(), batch.places.tolist(), batch.targets.tolist(), batch.owners.tolist(), strict=True
    ):
        at = int(batch.positions[row, place]) + 1
        seen = path(batch, place) if batch.packed else range(place + 1)
        assert [int(batch.ids[row, i]) for i in seen] == list(sequences[owner].ids[:at])
        assert [int(batch.positions[row, i]) for i in seen] == list(range(at))
        assert target == sequences[owner].ids[at]
        found.append((owner, at))
    return sorted(found)


def expected(sequences):
    return sorted((i, at) for i, s in enumerate(sequences) for at in range(1, len(s.ids)) if s.weights[at])


@pytest.mark.parametrize("seed", range(8))
def test_flex_attention_is_told_of_exactly_the_blocks_that_need_it(seed):
    """As torch finds them by looking at every pair."""
    random_ = random.Random(seed)
    shared = [random_.randrange(9) for _ in range(random_.randrange(1, 300))]
    rows = [
        (
            *shared[: random_.randrange(len(shared) + 1)],
            *(random_.randrange(9) for _ in range(random_.randrange(1, 200))),
        )
        for _ in range(random_.randrange(1, 25))
    ]
    ends = pack([Tokens(ids, (1.0,) * len(ids), ()) for ids in rows]).packed.ends
    ours = block_mask(ends)
    theirs = create_block_mask(ours.mask_mod, None, None, len(ends), len(ends), device="cpu")
    assert torch.equal(ours.to_dense(), theirs.to_dense())
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_groups_hold_every_sequence_once_and_respect_the_limit():
    sequences = [tokens([1] * n, [0] * n) for n in (5, 90, 3, 40, 41, 7, 200)]
    groups = list(by_length(sequences, 100))
    assert sorted(i for group in groups for i in group) == list(range(7))
    for group in groups:
        assert len(group) == 1 or len(group) * max(len(sequences[i].ids) for i in group) <= 100
    assert groups == [[2, 0, 5], [3, 4], [1], [6]]


@pytest.mark.parametrize("share", [False, True])
def test_each_learned_token_is_predicted_once_from_the_place_before_it(share):
    sequences = prefixed(20, ([50, 51, 52], 2), ([60, 61], 1), ([70, 71, 72, 73, 74], 3))
    batch = pack(sequences, share=share)
    assert counted(batch, sequences) == counted(pad(sequences), sequences) == expected(sequences)
    assert float(batch.weights.sum()) == sum(weight_of(s) for s in sequences) == 6
    assert batch.ids.shape == (1, 20 + 3 + 2 + 5 if share else 3 * 20 + 10)


def test_beginnings_within_beginnings():
    """Two kinds of rows under one system prompt, and one row under another."""
    system, other = list(range(1, 31)), list(range(400, 430))
    rows = [[*system, *range(100, 120), 7], [*system, *range(200, 220), 8], [*system, *range(100, 120), 9], other]
    sequences = [tokens(row, [0] * (len(row) - 1) + [1]) for row in rows]
    batch = pack(sequences)
    assert batch.ids.numel() == 30 + 20 + 1 + 1 + 21 + 30
    assert counted(batch, sequences) == expected(sequences)


def test_what_two_rows_share_may_count_in_both_with_weights_of_their_own():
    sequences = [tokens(range(1, 31), [0] * 18 + [1] * 12), tokens(range(1, 31), [0] * 25 + [0.5] * 5)]
    batch = pack(sequences)
    assert batch.ids.numel() == 30
    assert counted(batch, sequences) == expected(sequences)
    assert float(batch.weights.sum()) == 12 + 2.5


@pytest.mark.parametrize("common", [0, FEWEST_SHARED - 1])
def test_too_short_a_beginning_is_not_shared(common):
    sequences = prefixed(common, ([50, 51], 1), ([60, 61], 1))
    assert pack(sequences).ids.numel() == 2 * (common + 2)


def test_a_long_run_is_cut_so_that_its_beginning_does_not_look_ahead():
    n = 3 * LONGEST_PIECE + 5
    batch = pack([tokens(range(n), [0] * (n - 1) + [1])])
    assert len(batch.packed.pieces) == 4
    assert max(piece.end - piece.start for piece in batch.packed.pieces) <= LONGEST_PIECE
    assert path(batch, n - 1) == list(range(n))


def test_a_sequence_that_is_the_beginning_of_another():
    sequences = [tokens(range(1, 25), [0] * 22 + [1] * 2), tokens(range(1, 41), [0] * 30 + [1] * 10)]
    batch = pack(sequences)
    assert batch.ids.numel() == 40 and counted(batch, sequences) == expected(sequences)


def test_packs_come_in_the_order_of_their_beginnings_and_keep_to_the_limit():
    rows = [*prefixed(40, *(([100 + i, 7], 1) for i in range(6))), tokens(range(500, 700), [1] * 200)]
    groups = list(packs(rows, 46))
    assert sorted(i for group in groups for i in group) == list(range(7))
    assert [pack([rows[i] for i in group]).ids.numel() for group in groups] == [46, 46, 200]


def test_the_mask_of_a_pack_is_the_tree():
    """`ends`, from which a GPU builds its mask, says the same as the pieces."""
    sequences = prefixed(30, ([50] * 9, 2), ([60] * 120, 1), ([60] * 20 + [70] * 9, 3))
    batch = pack(sequences)
    length = batch.ids.numel()
    place = torch.arange(length)
    by_ends = (place[None] <= place[:, None]) & (place[:, None] < batch.packed.ends[None])
    by_pieces = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        by_pieces[i, path(batch, i)] = True
    assert torch.equal(by_ends, by_pieces)


rows_of_few_tokens = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2), st.lists(st.integers(0, 2), min_size=1, max_size=30)),
    min_size=1, max_size=8,
)  # fmt: skip


@pytest.mark.slow
@given(rows_of_few_tokens, st.integers(1, 120), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_is_laid_out_every_row_sees_what_it_would_see_alone(rows, most, packed, share):
    ids = [[0] * common + [kind] * common + tail for common, kind, tail in rows]
    sequences = [tokens(row, [0, *(i % 3 / 2 for i in range(len(row) - 1))]) for row in ids]
    seen = []
    for group, batch in lay_out(sequences, most, packed=packed, share=share):
        assert len(group) == 1 or batch.ids.numel() <= most + FEWEST_SHARED * len(group)
        seen += [(group[i], at) for i, at in counted(batch, [sequences[i] for i in group])]
    assert sorted(seen) == expected(sequences)


@pytest.mark.parametrize("make", [pack, pad])
def test_prompt_tokens_count_with_their_own_weight(make):
    sequences = prefixed(20, ([50, 51, 52], 2), ([60, 61], 1))
    batch = make(sequences, 0.1)
    assert len(batch.targets) == 22 + 21  # all but the first token of each
    assert float(batch.weights.sum()) == pytest.approx(sum(weight_of(s, 0.1) for s in sequences))
    assert weight_of(sequences[0], 0.1) == pytest.approx(20 * 0.1 + 2)


@pytest.mark.parametrize("make", [pack, pad])
def test_ugly_weights(make):
    batch = make([tokens([1, 2, 3, 4], [0, 0.5, 0, 1])])
    assert batch.weights.tolist() == [0.5, 1.0] and batch.places.tolist() == [0, 2]
    batch = make([tokens([7, 8], [1, 1])])  # nothing stands before the first
    assert batch.targets.tolist() == [8] and weight_of(tokens([7, 8], [1, 1])) == 1
    batch = make([tokens([1, 2, 3], [0, 0, 0])])
    assert batch.targets.dtype == torch.long and len(batch.targets) == 0
