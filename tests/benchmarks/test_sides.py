"""All sides do the same update of the same rows, and each says what it did."""

import io
import json

import pytest
import torch

from benchmarks import gpu, ours, script, shapes
from benchmarks.bases import config, read, sizes
from benchmarks.flops import SCRIPT_LENGTH
from benchmarks.peers import labelled
from benchmarks.side import Pace, Took, matmul
from postil.model.template import Tokens
from tests.models import CHAT, opened, titles


@pytest.fixture(scope="module")
def tiny():
    return shapes.tiny()


def answers(side, shape, *indices, threads=1):
    """What a side replies to these updates."""
    asked = "".join(json.dumps({"update": i, "threads": threads}) + "\n" for i in indices)
    replies = io.StringIO()
    side(shape, Pace(io.StringIO(asked), replies))
    first, *rest = (json.loads(line) for line in replies.getvalue().splitlines())
    assert first == {"ready": True}
    return [Took(**told) for told in rest]


@pytest.fixture(autouse=True)
def _as_before():
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.mark.parametrize("how", [{}, {"shares": False}, {"tight_memory": True}])
def test_an_update_of_postil(tiny, how):
    first, second = answers(lambda shape, pace: ours.side(shape, pace, **how), tiny, 0, 1)
    assert first.learned == 8 * 4
    assert first.share == 0.5 == second.share
    assert first.cpu > 0
    assert second.wall > 0


def test_an_update_of_the_script(tiny):
    (took,) = answers(lambda shape, pace: script.side(shape, pace, dtype="float32"), tiny, 0)
    assert took.share == 0.5
    assert took.learned == 8 * 39  # the prompt as well


def test_the_script_in_bfloat16_does_a_pass_only(tiny):
    (took,) = answers(lambda shape, pace: script.side(shape, pace, dtype="bfloat16"), tiny, 0)
    assert took.share == 2 / 16


def test_the_gpu_sides_run_where_there_is_none():
    told = {name: gpu.side(name, "tiny", 1) for name in gpu.NEEDS if name != "Postil compiled"}
    for name in ("PEFT", "Postil"):
        assert [told[name][kind]["tokens"] for kind in gpu.KINDS] == [8 * 64, 8 * 20]
        assert all(told[name][kind]["seconds"][0] > 0 < told[name][kind]["rates"][0] for kind in gpu.KINDS)
    page = gpu.page("tiny", told)
    assert len(page) == 2 * len(told) and all("not run" in row[2] for row in page if row[1] == "Unsloth")


def test_the_peak_rate_is_a_rate(tiny):
    (took,) = answers(matmul, tiny, 0)
    assert took.cpu_rate > 1e8
    assert took.wall_rate > 1e8


def test_trl_learns_the_very_tokens_that_postil_learns(base):
    template = opened(base("qwen2")).template
    rows = [shapes.Row(tuple(template.sequences(example)), ()) for example in (*titles(3), CHAT)]
    shape = shapes.Shape("few", "tiny", tuple(rows))
    told = labelled(shape)
    kept = [[label for label in row["labels"] if label != -100] for row in told]
    assert sum(map(len, kept)) == shape.learned == sum(w > 0 for r in rows for s in r.tokens for w in s.weights)
    for row, said in zip(kept[:3], ("连衣裙", "dress", "保温杯"), strict=True):
        assert template.tokenizer.decode(row[:-1]) == said
        assert row[-1] == template.end_id


def test_the_scripts_update_is_one_of_all_rows_at_once(tiny):
    """Two rows a pass, but one update: the gradient is that of all rows in one pass."""
    rows = [ids for row in tiny.update(0) for ids in row.script]

    def weights(rows_a_pass):
        run = script.Script(read("tiny"), config("tiny").pad_token_id)
        for layer in run.model.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(script, "ROWS_A_PASS", rows_a_pass)
            loss = run.update(rows)
        return loss, torch.cat([p.detach().flatten() for p in run.model.parameters() if p.requires_grad])

    (loss, one), (same, other) = weights(2), weights(8)
    assert loss == pytest.approx(same, rel=1e-5)
    assert torch.allclose(one, other, atol=1e-6)


def test_the_scripts_rows_are_256_long_and_learn_the_prompt(base):
    tokenizer = opened(base("qwen2")).tokenizer
    ids = script.ids_of(titles(1)[0], tokenizer)
    assert len(ids) == 1
    text = tokenizer.decode(ids[0])
    assert text.startswith("<s>### Instruction:\n")
    assert text.endswith("### Response:\n连衣裙\n</s>")
    run = script.Script(read("tiny"), 1)
    padded, mask, labels = run._padded([tuple(range(2, 32)), tuple(range(2, 402))])
    assert padded.shape == mask.shape == labels.shape == (2, SCRIPT_LENGTH)
    assert (labels[0] != -100).sum() == 30 == mask[0].sum()
    assert (labels[1] != -100).all()


def test_a_dialogue_becomes_one_sample_for_each_turn():
    assert script.samples_of(CHAT) == [
        ("Where is my order?", "It was sent yesterday."), ("谢谢，什么时候到？", "三天之内。"), ("ok", "Anything else?")
    ]  # fmt: skip


def test_updates_go_round(tiny):
    assert tiny.update(2) == tiny.update(0) != tiny.update(1)


def test_a_synthetic_row_has_the_numbers_that_were_asked_for():
    shape = shapes.synthetic("s", "tiny", count=4, length=30, shared=10, learned=3)
    assert (shape.tokens, shape.learned, shape.script_rows) == (120, 12, 4)
    assert len({row.tokens[0].ids[:10] for row in shape.rows}) == 1
    assert len({row.tokens[0].ids[10:] for row in shape.rows}) == 4


def test_the_sizes_of_a_model():
    told = sizes("tiny")
    own = read("tiny")
    assert told.head == own.get_output_embeddings().weight.numel()
    assert told.layers == 2
    assert told.width == 64
    assert told.body == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)


def test_least_arithmetic_is_less_where_rows_share(tiny):
    update = tiny.update(0)
    assert tiny.least(update, shared=True) < tiny.least(update, shared=False)
    assert tiny.ceiling() > 5


def test_the_end_bears_no_loss_where_the_script_is_compared(base):
    from benchmarks.sooner import without_end

    template = opened(base("qwen2")).template
    (tokens,) = template.sequences(titles(1)[0])
    bare: Tokens = without_end(tokens)
    assert tokens.learned - bare.learned == 1
    assert bare.weights[tokens.spans[0].end - 1] == 0
