"""The arithmetic behind useful_fraction and the ceiling."""

import pytest

from benchmarks.bases import Sizes
from benchmarks.flops import SCRIPT_LENGTH, Work, each, flops, in_common, once, padded

SMOLLM2 = Sizes(body=106_168_320, head=28_311_552, lora=921_600, layers=30, width=576)


def test_every_part_of_the_formula_is_counted():
    sizes = Sizes(body=1000, head=100, lora=10, layers=2, width=5)
    assert (
        flops(sizes, Work(tokens=7, learned=3, pairs=11)) == 4 * 1000 * 7 + 4 * 100 * 3 + 6 * 10 * 7 + 12 * 2 * 5 * 11
    )


def test_a_shared_beginning_is_counted_once():
    assert once([5, 6], 3, 2) == Work(8, 2, 15 + 21 - 6)
    assert once([5, 6], 0, 2) == each([5, 6], 2)
    assert once([5], 3, 1) == each([5], 1)


def test_rows_that_share_all_but_the_last_token():
    own = each([4, 4, 4], 3)
    assert once([4, 4, 4], 3, 3) == Work(own.tokens - 6, 3, own.pairs - 12)


@pytest.mark.parametrize(("length", "shared", "ceiling"), [(165, 100, 4.3), (151, 102, 5.4)])
def test_the_ceiling_for_titles(length, shared, ceiling):
    ours = flops(SMOLLM2, once([length] * 8, shared, 8 * 3))
    assert flops(SMOLLM2, padded(8)) / ours == pytest.approx(ceiling, abs=0.06)


def test_the_scripts_rows_cost_the_same_however_short_they_are():
    assert padded(2).tokens == 2 * SCRIPT_LENGTH == padded(2).learned


def test_what_rows_have_in_common():
    assert in_common([(1, 2, 3), (1, 2, 4), (1, 2, 3, 4)]) == 2
    assert in_common([(1, 2), (1, 2, 3)]) == 2
    assert in_common([(1,), (2,)]) == 0
    assert in_common([(7, 8)]) == 2
