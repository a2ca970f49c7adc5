"""Rows written together are, token for token, what transformers' own greedy loop writes of each alone."""

import pytest
import torch

from postil.model.attention import Unpackable
from postil.model.decode import Decoder, decodes
from postil.model.plain import by_transformers
from postil.model.sample import Sampling
from tests.models import FAMILIES, opened

NEAR = 1e-4  # a tie: nobody can say which of two such tokens is the likeliest
PROMPTS = [
    list(range(5, 25)), [7], [9, 8, 7], [*range(30, 60), 5], [60] * 63, [*range(100, 180)], [*range(5, 24), 99],
    [4] * 33,
]  # fmt: skip
WINDOWED = ("mistral", "gemma3")  # their windows are 24 tokens


def greedy(decoder, prompts, new, most=None, behind=None, **how):
    """What a decoder writes of prompts; each comes in when the one before it has been read."""
    left, rows, written = list(prompts), {}, [[] for _ in prompts]
    while left or rows:
        if left:
            place = len(prompts) - len(left)
            rows[decoder.add(left.pop(0), behind=behind, **how)] = place
        done, logits = decoder.step(most)
        for row, next_one in zip(done, [] if logits is None else logits, strict=True):
            place = rows[row]
            written[place].append(next_one)
            if len(written[place]) == new + place:  # no two end at once
                decoder.drop(row)
                del rows[row]
            else:
                row.unread = [int(next_one.argmax())]
    return written


def differences(loaded, prompts, written):
    """How many rows differ from what transformers writes at a place where it is no tie; and how many at a tie."""
    wrong = ties = 0
    for prompt, logits in zip(prompts, written, strict=True):
        (plain,) = by_transformers(loaded, [prompt], len(logits), Sampling(), lambda *_: None, lambda _: None)
        ours = [int(one.argmax()) for one in logits]
        at = next((i for i, (one, other) in enumerate(zip(ours, plain, strict=False)) if one != other), None)
        if at is not None:
            first, second = logits[at].topk(2).values.tolist()
            ties, wrong = (ties + 1, wrong) if first - second < NEAR else (ties, wrong + 1)
    return wrong, ties


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in WINDOWED])
@torch.inference_mode()
def test_rows_that_come_and_go_are_written_as_alone(base, family):
    loaded = opened(base(family))
    assert decodes(loaded.model, "cpu")
    written = greedy(Decoder(loaded.model, "cpu", 200), PROMPTS, 40)
    wrong, ties = differences(loaded, PROMPTS, written)
    assert wrong == 0 and ties <= 1
    assert len({tuple(int(one.argmax()) for one in row) for row in written}) > 4


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("family", ["llama3", "qwen3", "phi"])
@torch.inference_mode()
def test_a_shared_beginning_and_prompts_in_parts_change_nothing(base, family, copy):
    loaded, beginning = opened(base(family)), list(range(200, 250))
    decoder = Decoder(loaded.model, "cpu", 300)
    written = greedy(decoder, PROMPTS, 9, most=17, behind=decoder.read(beginning), copy=copy)
    assert differences(loaded, [[*beginning, *prompt] for prompt in PROMPTS], written)[0] == 0


@torch.inference_mode()
def test_rows_that_outgrow_their_room_together(base):
    """All of a cell, and some of one: five of one length leave the room that they share with two shorter ones."""
    loaded = opened(base("qwen2"))
    prompts = [[60] * 3, *([*range(i, i + 28)] for i in range(5, 10)), [59] * 5]
    decoder = Decoder(loaded.model, "cpu", 200)
    rows = {decoder.add(prompt): [] for prompt in prompts}
    for _ in range(70):
        done, logits = decoder.step()
        for row, next_one in zip(done, logits, strict=True):
            rows[row].append(next_one)
            row.unread = [int(next_one.argmax())]
    wrong, ties = differences(loaded, prompts, list(rows.values()))
    assert wrong == 0 and ties <= 1


@torch.inference_mode()
def test_a_long_prompt_in_pieces_of_its_own(base):
    """Longer than what attends at once."""
    loaded = opened(base("qwen2"))
    prompts = [[(i * i) % 300 for i in range(600)], [5, 6, 7]]
    assert differences(loaded, prompts, greedy(Decoder(loaded.model, "cpu", 700), prompts, 5))[0] == 0


@torch.inference_mode()
def test_what_a_row_remembers_can_begin_another(base):
    loaded = opened(base("qwen2"))
    decoder = Decoder(loaded.model, "cpu", 300)
    first = decoder.read(PROMPTS[0])
    row = decoder.add(PROMPTS[3], behind=first)
    decoder.step()
    kept = row.cell.beginning(row.place, 30)
    decoder.drop(row)
    whole = [*PROMPTS[0], *PROMPTS[3]][:30] + PROMPTS[5]
    assert differences(loaded, [whole], greedy(decoder, [PROMPTS[5]], 9, behind=kept, copy=True))[0] == 0


@torch.inference_mode()
def test_nothing_is_computed_for_rows_that_ended(base):
    loaded = opened(base("qwen2"))
    decoder, read = Decoder(loaded.model, "cpu", 100), []
    hook = loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    rows = [decoder.add([5 + i, 6, 7]) for i in range(4)]
    while rows:
        decoder.step()
        decoder.drop(rows.pop(0))
        for row in rows:
            row.unread = [9]
    hook.remove()
    assert read == [12, 3, 2, 1] and len(decoder) == 0 and not decoder._cells


@torch.inference_mode()
def test_a_window_shorter_than_the_text_is_refused(base):
    for family in WINDOWED:
        loaded = opened(base(family))
        assert decodes(loaded.model, "cpu")
        assert differences(loaded, PROMPTS[1:3], greedy(Decoder(loaded.model, "cpu", 24), PROMPTS[1:3], 9))[0] == 0
        with pytest.raises(Unpackable):
            greedy(Decoder(loaded.model, "cpu", 25), PROMPTS[1:3], 9)


def test_a_model_that_gives_something_else_is_found_out(base):
    """Also one that takes what is packed, but would not do what it is told."""
    loaded = opened(base("llama3"))
    loaded.model.set_attn_implementation("sdpa")
    assert not decodes(loaded.model, "cpu")
    other = opened(base("llama3"))
    layer = other.model.model.layers[1].self_attn
    real = layer.forward
    layer.forward = lambda hidden, *given, **named: real(
        hidden.cumsum(1), *given, **named
    )  # it remembers in another way
    assert not decodes(other.model, "cpu")
