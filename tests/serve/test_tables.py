"""What lies in tables is what each adapter says, whichever layers it stands on and however its tokens come."""

from pathlib import Path

import pytest
import torch

from postil.serve.lora import Lora
from postil.serve.shelf import Held, Stack
from postil.serve.voices import Voices

INS = 24
WIDTHS = {"q": 48, "k": 16, "v": 32}
RANKS = [{"q": 4, "k": 4, "v": 4}, {"q": 6, "v": 2}, {"k": 3}]
SPANS = {
    "each alone": [(0, 0, 1), (1, 1, 2), (2, 2, 3)],
    "some with none": [(0, 0, 1), (None, 1, 3), (2, 3, 4), (0, 4, 5)],
    "alone and in runs": [(1, 0, 1), (0, 1, 7), (2, 7, 8), (None, 8, 12), (1, 12, 13)],
    "one for all": [(1, 0, 9)],
}


def stacked(ranks, dtype):
    """A stack of three adapters that has grown, and their matrices."""
    random = torch.Generator().manual_seed(7)

    def matrix(*shape):
        return torch.randn(shape, generator=random, dtype=dtype)

    loras = [
        Lora(Path(str(i)), {name: (matrix(INS, r), matrix(r, WIDTHS[name])) for name, r in ranks.items()})
        for i in range(3)
    ]
    stack = Stack(loras[0], 2, torch.device("cpu"), [WIDTHS, {"o": 8}])
    return [Held(lora.path, 1.0, stack, stack.put(lora), lora.bytes, (0, 0)) for lora in loras], loras


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spans", SPANS.values(), ids=SPANS)
@pytest.mark.parametrize("ranks", RANKS)
def test_each_token_is_given_its_own_adapters_update(ranks, spans, dtype):
    held, loras = stacked(ranks, dtype)
    voices = Voices()
    voices.speak([(None if who is None else held[who], start, end) for who, start, end in spans])
    x = torch.randn(spans[-1][2], INS, dtype=dtype)
    out = torch.zeros(len(x), sum(WIDTHS.values()), dtype=dtype)
    voices.add(tuple(WIDTHS), x, out)
    for who, start, end in spans:
        layers = {} if who is None else loras[who].layers
        for name, own in zip(WIDTHS, out[start:end].split(list(WIDTHS.values()), 1), strict=True):
            down, up = layers.get(name, (x.new_zeros(INS, 1), x.new_zeros(1, WIDTHS[name])))
            torch.testing.assert_close(own, x[start:end] @ down @ up, atol=1e-4, rtol=1e-4)
    voices.add(("o",), x, untouched := torch.zeros(len(x), 8, dtype=dtype))
    assert not untouched.any()
