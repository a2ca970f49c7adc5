"""Families of pieces give what plain attention gives with a mask, forward and backward."""

import pytest
import torch
from torch.nn import functional as F

from postil.model import pieces as module
from postil.model.layout import pack
from postil.model.pieces import PADDING, ByFamily, Piece, families
from postil.model.template import Tokens

PACKS = {
    "one row": [[*range(20)]],
    "rows of one length": [[*range(12), 50 + i, 60, 70] for i in range(4)],
    "rows of many lengths behind one beginning": [[*range(12), 50 + i, *[60] * (3 * i)] for i in range(6)],
    "beginnings in beginnings": [[*range(10), *[20 + i // 3] * 9, 50 + i, *[60] * (i % 3)] for i in range(9)],
    "nothing shared": [[90 + i] * (1 + 5 * i) for i in range(5)],
    "rows in several pieces": [[*range(10), 50 + i, *range(300 + 20 * i)] for i in range(3)],
}


def packed(rows):
    return pack([Tokens(tuple(row), tuple([1.0] * len(row)), ()) for row in rows]).packed


def tensors(length, heads=4, kv=2, size=8):
    torch.manual_seed(length)
    made = [torch.randn(1, count, length, size, dtype=torch.float64) for count in (heads, kv, kv)]
    return [tensor.requires_grad_() for tensor in made]


def masked(pieces, query, key, value, scale):
    """The same by one product over all pairs."""
    length = query.shape[2]
    sees = torch.zeros(length, length, dtype=torch.bool)
    for piece in pieces:
        for start, end in piece.before:
            sees[piece.start : piece.end, start:end] = True
        own = slice(piece.start, piece.end)
        sees[own, own] = torch.ones(piece.length, piece.length, dtype=torch.bool).tril()
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=sees, scale=scale, enable_gqa=True)
    return attended.transpose(1, 2)


@pytest.mark.parametrize("kept", [2**21, 0])
@pytest.mark.parametrize("name", PACKS)
def test_as_plain_attention_with_a_mask(name, kept, monkeypatch):
    monkeypatch.setattr(module, "KEPT_SCORES", kept)
    pack = packed(PACKS[name])
    given = tensors(len(pack.ends))
    ours = ByFamily.apply(pack.families, 0.3, *given)
    plain = masked(pack.pieces, *given, 0.3)
    assert torch.allclose(ours, plain, atol=1e-12)
    weight = torch.randn(plain.shape, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), given),
        torch.autograd.grad((plain * weight).sum(), given),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", PACKS)
def test_every_piece_is_in_one_family_with_little_that_only_fills(name):
    pack = packed(PACKS[name])
    places = torch.cat([family.places for family in pack.families])
    assert sorted(places.tolist()) == list(range(len(pack.ends)))
    assert sum(family.count for family in pack.families) == len(pack.pieces)
    assert sum(len(family.own) for family in pack.families) <= PADDING * len(places)


def test_pieces_of_one_beginning_are_one_family():
    alike = [Piece(10 + 6 * i, 16 + 6 * i, ((0, 10),)) for i in range(5)]
    other = Piece(40, 46, ((0, 10), (10, 16)))
    found = families([Piece(0, 10, ()), *alike, other], torch.device("cpu"))
    assert [(family.count, len(family.before)) for family in found] == [(1, 0), (5, 10), (1, 16)]
    assert all(family.real is None for family in found)
