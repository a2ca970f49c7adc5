"""A checkpoint is whole, or it is not used."""

import json
from dataclasses import replace

import pytest
import torch

from postil.errors import TrainError
from postil.store import sha256
from postil.train import checkpoint
from postil.train.checkpoint import FILES, Position, Saved, latest, read, save, tidy, whole


def saved(step, value=1.0):
    tensors = {"b": torch.full((2, 3), value), "a": torch.arange(3, dtype=torch.bfloat16)}
    moments = {"p|step": torch.tensor(float(step)), "p|exp_avg": torch.full((2,), value)}
    return Saved(Position(step=step, best_loss=0.1 + 0.2, learning_rate=1e-3, packs=True), tensors, tensors, moments)


def same(one, other):
    return one.position == other.position and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)
        for a, b in ((one.weights, other.weights), (one.best, other.best), (one.moments, other.moments))
    )


@pytest.fixture
def two(tmp_path):
    for step in (7, 14):
        save(tmp_path, saved(step, float(step)))
    return tmp_path


def test_what_is_saved_is_read_again(two):
    found, broken = latest(two)
    assert found is not None and same(found, saved(14, 14.0)) and not broken
    assert sorted(path.name for path in two.iterdir()) == ["step-00000007", "step-00000014"]


def test_the_same_state_gives_the_same_bytes(tmp_path):
    one, other = (save(tmp_path / name, saved(3)) for name in "ab")
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in (*FILES, "manifest.json"))


def test_nothing_there(tmp_path):
    assert latest(tmp_path / "none") == (None, [])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("harm", [flip, truncate, empty, lambda path: path.unlink()])
def test_after_any_damage_the_one_before_it_is_used(two, name, harm):
    if name == "manifest.json" and harm is truncate:
        (two / "step-00000014" / name).write_bytes((two / "step-00000014" / name).read_bytes()[:-3])
    else:
        harm(two / "step-00000014" / name)
    found, broken = latest(two)
    assert found is not None and same(found, saved(7, 7.0))
    assert broken == ["step-00000014"] and (two / "quarantine" / "step-00000014").is_dir()
    assert latest(two)[1] == []  # told once


def test_when_all_are_damaged_there_is_none(two):
    for path in two.iterdir():
        flip(path / "adapter.safetensors")
    assert latest(two) == (None, ["step-00000014", "step-00000007"])


def test_a_second_damaged_one_of_the_same_step_takes_the_place_of_the_first(two):
    for _ in range(2):
        save(two, saved(14))
        flip(two / "step-00000014" / "state.json")
        assert latest(two)[1] == ["step-00000014"]


def test_a_manifest_that_names_too_little_does_not_make_a_checkpoint_whole(two):
    file = two / "step-00000014" / "manifest.json"
    told = json.loads(file.read_text())
    del told["moments.safetensors"]
    file.write_text(json.dumps(told))
    assert not whole(two / "step-00000014")


def test_half_written_ones_are_not_seen_and_are_swept_away(two):
    half = two / ".tmp-abc"
    half.mkdir()
    (half / "adapter.safetensors").write_bytes(b"x")
    assert latest(two)[0] is not None and half.exists()
    tidy(two, 5)
    assert not half.exists() and len(list(two.iterdir())) == 2


def test_a_crash_while_writing_leaves_the_ones_before(two, monkeypatch):
    def fail(made, final):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "publish", fail)
    with pytest.raises(OSError, match="no space"):
        save(two, saved(21))
    found, broken = latest(two)
    assert found is not None and found.position.step == 14 and not broken
    assert sorted(path.name for path in two.iterdir()) == ["step-00000007", "step-00000014"]


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 10, 100):
        save(tmp_path, saved(step))
    tidy(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_the_same_step_again_replaces_it(two):
    save(two, replace(saved(14), position=Position(step=14, best_step=9)))
    assert read(two / "step-00000014").position.best_step == 9


def rewritten(directory, change):
    """The newest checkpoint with another state, and a manifest that agrees."""
    path = directory / "step-00000014"
    state = json.loads((path / "state.json").read_text())
    change(state)
    (path / "state.json").write_text(json.dumps(state))
    (path / "manifest.json").write_text(json.dumps({name: sha256(path / name) for name in FILES}))


def test_fault_20_a_checkpoint_of_an_older_version_is_gone_on_from(two):
    rewritten(two, lambda state: state.pop("trained_tokens"))
    found, broken = latest(two)
    assert found is not None and not broken
    assert (found.position.step, found.position.trained_tokens) == (14, 0)


def test_fault_20_a_checkpoint_of_a_newer_version_is_refused_with_its_reason(two):
    rewritten(two, lambda state: state.update(new_value=3))
    with pytest.raises(TrainError) as refused:
        latest(two)
    assert refused.value.code == "checkpoint_newer" and "new_value" in refused.value.cause("en")
