"""How large a base model is, counted from its shape."""

from __future__ import annotations

import dataclasses

from postil.records import Shape


def test_the_shape_counts_its_parameters() -> None:
    shape = Shape(layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, vocab=10, context=64)
    a_block = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16
    assert shape.body_parameters == 2 * a_block
    assert shape.parameters == 2 * a_block + 80
    assert dataclasses.replace(shape, tied=False).parameters == 2 * a_block + 160
