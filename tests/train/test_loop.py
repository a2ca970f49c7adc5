"""The loop: the best is kept, the probe finds a rate, and stopping loses nothing."""

import json
from dataclasses import replace

import pytest
import torch

from postil.errors import TrainError
from postil.model.adapt import attach, weights_of
from postil.settings import Ranks
from postil.train.checkpoint import latest, save
from postil.train.grade import Grade
from postil.train.loop import Loop
from postil.train.objectives.causal_lm import CausalLM
from postil.train.progress import Progress
from tests.models import opened, plan, titles


@pytest.fixture
def make(base, tmp_path):
    """`make(**plan)`: a loop on a fresh adapter; its events are in `make.events`."""

    def build(*, stop=lambda: False, validation=6, **values):
        chosen = plan(**{"n_epochs": 3, "batch_size": 4, "learning_rate": 3e-3, "save_steps": 5, **values})
        loaded = opened(base("qwen2"))
        rows = [loaded.template.sequences(example) for example in titles(16 + validation)]
        model = attach(loaded.model, chosen, "tiny")
        progress = Progress(tmp_path, build.events.append, 0.5, writes=True)
        return Loop(CausalLM(model, chosen), chosen, rows[:16], rows[16:], tmp_path, progress, stop, Ranks(0, 0, 1))

    build.events = []
    build.told = lambda code: [e.data for e in build.events if e.type == "message" and e.data["code"] == code]
    build.directory = tmp_path
    return build


def scripted(loop, losses):
    """Let the validation say these losses, one after another."""
    left = iter(losses)
    loop._learner.validation = lambda rows: Grade(next(left))
    return loop


def test_the_best_is_kept_and_the_run_stops_when_nothing_is_gained(make):
    loop = scripted(make(evaluations_per_epoch=4, patience=2), [5.0, 4.0, 3.0, 3.5, 3.2, 1.0])
    kept = {}
    real = loop._after
    loop._after = lambda loss, seconds: (real(loss, seconds), kept.update({loop._at.step: weights_of(loop._model)}))
    position, best = loop.run()
    assert (position.step, position.best_step, position.best_loss, position.base_loss) == (4, 2, 3.0, 5.0)
    assert all(torch.equal(best[name], kept[2][name]) for name in best)
    assert make.told("stopped_early") == [{"code": "stopped_early", "step": 4, "best_step": 2}]


def test_a_run_that_only_makes_things_worse_keeps_the_untouched_start(make):
    position, best = scripted(make(evaluations_per_epoch=4, patience=2), [1.0, 2.0, 3.0]).run()
    assert position.best_step == 0 and position.best_loss == 1.0
    assert all(not best[name].any() for name in best if "lora_B" in name)  # B = 0: the base itself


def test_nothing_is_validated_shortly_before_the_end(make):
    make(batch_size=2, n_epochs=2, evaluations_per_epoch=3, patience=100).run()
    steps = [e.data["step"] for e in make.events if e.type == "metrics" and "validation_loss" in e.data]
    assert steps == [3, 6, 9, 12, 16]  # every third; 15 would tell what 16 does


def test_a_tiny_gain_is_no_gain(make):
    position, _ = scripted(make(evaluations_per_epoch=4, patience=2), [1.0, 0.99995, 0.99991]).run()
    assert (position.step, position.best_step) == (2, 0)


def test_without_validation_rows_the_last_state_is_the_best(make):
    loop = make(validation=0, learning_rate_probe=True)
    position, best = loop.run()
    assert position.step == position.best_step == 12
    assert position.best_loss is None and position.learning_rate == 3e-3
    assert all(torch.equal(best[name], tensor) for name, tensor in weights_of(loop._model).items())


def test_the_probe_takes_the_rate_with_the_lowest_loss_and_begins_again(make):
    loop = scripted(make(learning_rate_probe=True, n_epochs=5), [9.0, 5.0, 3.0, 4.0, *[2.0] * 50])
    position, _ = loop.run()
    assert position.learning_rate == pytest.approx(3e-3)
    (told,) = make.told("learning_rate_probed")
    assert told["best"] == pytest.approx(3e-3) and told["updates"] == 5 and "→" in told["tried"]


def test_what_the_probe_tried_leaves_no_trace(make):
    """Probed and then trained is the same as trained at the winner's rate from the start."""
    probed = make(learning_rate_probe=True, n_epochs=4, batch_size=3)
    rate = probed.run()[0].learning_rate
    for path in (make.directory / "checkpoints").iterdir():
        path.rename(make.directory / f"probed-{path.name}")
    straight = make(n_epochs=4, batch_size=3, learning_rate=rate)
    straight.run()
    assert all(torch.equal(probed._best[name], tensor) for name, tensor in straight._best.items())


def test_a_rate_that_diverges_in_the_probe_is_not_taken(make):
    loop = make(learning_rate_probe=True, n_epochs=5, learning_rate=0.3, max_grad_norm=1000.0)
    real = loop._learner.update

    def update(step, rows, rate):
        if loop._at.learning_rate is None and rate > 0.1 * (step + 1):
            raise TrainError("diverged", step=step, learning_rate=rate)
        return real(step, rows, min(rate, 1e-2))

    loop._learner.update = update
    assert loop.run()[0].learning_rate == pytest.approx(0.09)


def test_a_run_too_short_for_a_probe_has_none(make):
    assert make(learning_rate_probe=True, n_epochs=3).run()[0].learning_rate == 3e-3
    assert not make.told("learning_rate_probed")


def test_stopped_by_hand_it_goes_on_from_there(make):
    whole, _ = make().run()
    expected = latest(make.directory / "checkpoints")[0]
    for path in (make.directory / "checkpoints").iterdir():
        path.rename(make.directory / f"whole-{path.name}")
    asked = iter([False, False, True])
    with pytest.raises(TrainError) as stopped:
        make(stop=lambda: next(asked)).run()
    assert stopped.value.code == "interrupted" and stopped.value.values == {"step": 3}
    assert make().run()[0].trained_tokens == whole.trained_tokens
    assert make.told("resumed") == [{"code": "resumed", "step": 3}]
    found = latest(make.directory / "checkpoints")[0]
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())


def test_a_damaged_checkpoint_is_told_and_costs_only_time(make):
    make().run()
    checkpoints = make.directory / "checkpoints"
    expected = latest(checkpoints)[0]
    (checkpoints / "step-00000012" / "moments.safetensors").write_bytes(b"broken")
    make().run()
    assert make.told("checkpoint_broken") == [{"code": "checkpoint_broken", "name": "step-00000012"}]
    assert make.told("resumed")[-1]["step"] == 10
    found = latest(checkpoints)[0]
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())


def test_a_smaller_micro_batch_found_in_the_probe_is_remembered(make):
    loop = make(learning_rate_probe=True, n_epochs=5)
    loop._learner.micro_batch_tokens = 128
    loop._at = loop._at.__class__(micro_batch_tokens=2048)
    loop._save()
    assert latest(make.directory / "checkpoints")[0].position.micro_batch_tokens == 128


def test_a_validation_loss_that_is_no_number_is_an_error(make):
    with pytest.raises(TrainError) as refused:
        scripted(make(), [float("nan")]).run()
    assert refused.value.code == "diverged" and refused.value.cause("en")


def test_a_model_that_takes_no_packs_is_told_once_and_learns_all_the_same(make):
    loop = make(validation=6)
    loop._learner.packs, loop._learner.lacks = False, {"not_packed": "a window"}
    loop.run()
    assert make.told("not_packed") == [{"code": "not_packed", "reason": "a window"}]


def test_what_is_not_training_itself_is_timed_apart_and_kept(make):
    loop = make(learning_rate_probe=True, n_epochs=8)
    loop.run()
    assert set(loop._progress.stages) == {"base_loss", "probe"}
    saved, _ = latest(make.directory / "checkpoints")
    assert saved.position.stages == loop._progress.stages


def test_events_and_metrics(make):
    make(evaluations_per_epoch=1, logging_steps=2).run()
    metrics = [event.data for event in make.events if event.type == "metrics"]
    assert [numbers["step"] for numbers in metrics] == [2, 4, 6, 8, 10, 12]
    percents = [event.data["percent"] for event in make.events if "percent" in event.data]
    assert percents == sorted(percents) and percents[-1] == 82
    last = metrics[-1]
    assert {"loss", "validation_loss", "learning_rate", "tokens_per_second", "epoch", "cost", "seconds_left"} <= set(
        last
    )
    assert last["total_steps"] == 12 and last["seconds_left"] == 0 and last["epoch"] == 3
    lines = (make.directory / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize(("dropout", "times"), [(0.1, 1), (0.0, 0)])
def test_a_run_of_an_older_version_is_told_that_its_dropout_is_drawn_otherwise(make, dropout, times):
    looks = iter([False, True])
    with pytest.raises(TrainError):
        make(lora_dropout=dropout, stop=lambda: next(looks)).run()
    found, _ = latest(make.directory / "checkpoints")
    assert found.position.dropout == "crc32"
    save(make.directory / "checkpoints", replace(found, position=replace(found.position, dropout="")))
    make(lora_dropout=dropout).run()
    assert len(make.told("dropout_changed")) == times


def test_the_state_with_the_most_right_answers_is_kept_though_its_loss_grows(make):
    loop = make(evaluations_per_epoch=4, patience=3, metric="exact_match")
    grades = iter(
        [
            Grade(5.0, 0.0, 20),
            Grade(1.0, 0.3, 20),
            Grade(1.2, 0.6, 20),
            Grade(1.5, 0.55, 20),
            *[Grade(1.6, 0.2, 20)] * 9,
        ]
    )
    loop._learner.validation = lambda rows: next(grades)
    position, _ = loop.run()
    assert (position.best_step, position.best_right, position.best_loss) == (2, 0.6, 1.2)
    assert position.step == 6  # 0.55 is chance and does not count, three times 0.2 do
    rights = [e.data["validation_right"] for e in make.events if e.type == "metrics" and "validation_right" in e.data]
    assert rights == [0.3, 0.6, 0.55, 0.2, 0.2, 0.2]
