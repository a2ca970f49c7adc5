"""The watch over workers that a test plays by hand: nothing lost, nothing twice, nothing from the past."""

from __future__ import annotations

import csv
import io

import pytest

from postil.errors import StoreError
from postil.jobs import InMemoryExecutor, Pace, Watch
from postil.jobs import watch as room
from postil.jobs.lease import MOST_LOST
from postil.locales import say
from postil.store import LOCAL
from postil.store.tables import Job
from tests.jobs.puppet import Puppet
from tests.jobs.shop import QUICK, Shop

SILENT = Pace(tick=0.01, silence=-1.0, grace=0.1, sweep=0.0)  # no beat is ever recent enough
CALM = Pace(tick=0.01, silence=3600.0, grace=0.1, sweep=0.0)


class Scene:
    """One shop, one watch, one twin; time goes on when the test says so."""

    def __init__(self, shop: Shop, pace: Pace = CALM, **capacity: float) -> None:
        self.shop = shop
        self.executor = InMemoryExecutor(**capacity)
        self.watch: Watch = shop.watch(self.executor, pace)

    def worker(self, job: Job) -> Puppet:
        """The worker of its newest attempt."""
        self.watch.tick()
        return Puppet(self.executor, [run for run in self.executor.launched if run.startswith(job.id)][-1])

    def training(self, job: Job) -> Puppet:
        """A worker that has begun to train."""
        self.worker(job).validated()
        self.watch.tick()
        return self.worker(job)

    def status(self, job: Job) -> str:
        self.watch.tick()
        return self.shop.get(job).status


@pytest.fixture
def scene(sqlite_shop: Shop) -> Scene:
    return Scene(sqlite_shop)


def test_a_job_goes_its_way(shop: Shop) -> None:
    scene, job = Scene(shop), shop.order(suffix="Bot")
    first = scene.worker(job)
    assert first.spec["phase"] == "validate" and scene.status(job) == "validating_files"
    first.validated(memory_mb=300)
    assert scene.status(job) == "running"  # its turn came at once
    second = scene.worker(job)
    assert second.spec["phase"] == "work" and second.spec["earlier"] == [str(first.directory)]
    second.step(1)
    second.checkpoint(1)
    second.step(2, validation_loss=1.25)
    second.checkpoint(2)
    scene.watch.tick()
    row = shop.get(job)
    assert row.progress["step"] == 2 and row.estimated_finish and row.last_checkpoint == 2
    second.succeed()
    assert scene.status(job) == "succeeded"
    row = shop.get(job)
    assert row.fine_tuned_model and row.fine_tuned_model.startswith("ft:tiny-qwen2:local:bot:")
    assert (row.trained_tokens, row.estimated_finish, row.claimed, row.error) == (99, None, False, None)
    assert shop.messages(job)[2:] == [
        "Files validated, moving job to queued state", "Fine-tuning job started", "Step 1/10: training loss=1.50",
        "Checkpoint created at step 1", "Step 2/10: training loss=1.50, validation loss=1.25",
        "Checkpoint created at step 2", f"New fine-tuned model created: {row.fine_tuned_model}",
        "The job has successfully completed",
    ]  # fmt: skip
    names = [model.id for model in shop.store.models.list(LOCAL)]
    assert set(names) == {row.fine_tuned_model, *(f"{row.fine_tuned_model}:ckpt-step-{n}" for n in (1, 2))}
    page = shop.queue.checkpoints(LOCAL, job.id)
    assert [(one.step, one.metrics) for one in page.rows] == [
        (2, {"step": 2, "train_loss": 1.5, "valid_loss": 1.25}), (1, {"step": 1, "train_loss": 1.5}),
    ]  # fmt: skip
    model = shop.store.models.get(LOCAL, row.fine_tuned_model)
    adapter = shop.store.directory / model.directory
    assert (adapter / "adapter_model.safetensors").read_bytes() == b"adapter" and model.live
    at_two = shop.store.directory / shop.store.models.get(LOCAL, page.rows[0].model_id).directory
    assert (at_two / "adapter_model.safetensors").read_bytes() == b"weights of 2"
    assert not (second.directory / "run").exists() and not first.directory.exists()  # only the record stays


def test_a_checkpoint_knows_what_was_told_of_its_step_some_time_before(scene: Scene) -> None:
    """Its file takes a while to be written, and the watch looks in between."""
    job = scene.shop.order()
    worker = scene.training(job)
    worker.step(3, validation_loss=1.25, learning_rate=1e-3)
    scene.watch.tick()
    worker.checkpoint(3)
    scene.watch.tick()
    (kept,) = scene.shop.queue.checkpoints(LOCAL, job.id).rows
    assert kept.metrics == {"step": 3, "train_loss": 1.5, "valid_loss": 1.25}


def test_rows_that_are_left_out_are_told_once_in_both_languages(scene: Scene) -> None:
    job = scene.shop.order()
    told = {"code": "rows_left_out", "reason": "not_json", "file": "training.jsonl", "n": 2, "rows": 40,
            "numbers": "3, 9", "why": {"en": "not JSON", "zh": "不是 JSON"}}  # fmt: skip
    for attempt in range(2):
        worker = scene.worker(job)
        worker.tell("message", level="warn", **told)
        worker.tell("message", level="warn", **{**told, "file": "validation.jsonl"})
        scene.watch.tick()
        if not attempt:
            worker.crash()
    found = [one for one in scene.shop.queue.events_since(LOCAL, job.id, 0, 100)[1] if one.code == "rows_left_out"]
    assert [(one.level, one.data["file"]) for one in found if one.data] == [
        ("warn", "training.jsonl"), ("warn", "validation.jsonl"),
    ]  # fmt: skip
    assert "2 of the 40 rows of training.jsonl (row 3, 9)" in found[0].message and "not JSON" in found[0].message
    assert "不是 JSON" in say("event.rows_left_out", "zh", **(found[0].data or {}))


def test_time_left_is_that_of_the_last_word(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    worker.step(3)
    scene.watch.tick()
    finish = scene.shop.get(job).estimated_finish
    assert scene.shop.get(job).progress["seconds_left"] == 3.0
    worker.tell("stage", stage="evaluate", percent=82.0)
    scene.watch.tick()
    row = scene.shop.get(job)
    assert "seconds_left" not in row.progress and row.estimated_finish == finish and row.progress["step"] == 3
    worker.tell("stage", stage="evaluate", percent=90.0, seconds_left=8.0)
    scene.watch.tick()
    assert scene.shop.get(job).progress["seconds_left"] == 8.0


def test_a_models_checkpoints_go_with_it_where_that_is_wished(scene: Scene) -> None:
    """All but one that another project may use, and none while one is needed."""
    job = scene.shop.order()
    worker = scene.training(job)
    for step in (1, 2, 3):
        worker.step(step)
        worker.checkpoint(step)
    worker.succeed()
    scene.watch.tick()
    models, name = scene.shop.store.models, str(scene.shop.get(job).fine_tuned_model)
    models.permit(LOCAL, f"{name}:ckpt-step-1", ["proj_b"])
    assert [one.id[-1] for one in models.checkpoints(LOCAL, name)] == ["2", "3"]
    assert models.checkpoints(LOCAL, f"{name}:ckpt-step-2") == ()
    later = scene.shop.order(model=f"{name}:ckpt-step-3")
    with pytest.raises(StoreError) as error:
        models.delete(LOCAL, name, "key", checkpoints=True)
    assert error.value.code == "model_in_use" and len(models.list(LOCAL)) == 4
    scene.shop.queue.cancel(LOCAL, later.id)
    gone = models.delete(LOCAL, name, "key", checkpoints=True)
    assert {one.id for one in gone} == {name, f"{name}:ckpt-step-2", f"{name}:ckpt-step-3"}
    assert [one.id for one in models.list(LOCAL)] == [f"{name}:ckpt-step-1"]


def test_the_result_file_has_a_row_for_each_step_and_only_numbers(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    for step in (1, 2, 3):
        worker.step(step, loss=float("nan") if step == 2 else 1.5)
    worker.succeed()
    scene.watch.tick()
    row = scene.shop.get(job)
    file = scene.shop.store.files.get(LOCAL, row.result_files[0])
    assert file.purpose == "fine-tune-results"
    table = list(csv.DictReader(io.StringIO(scene.shop.store.files.open(file).read().decode())))
    assert [line["step"] for line in table] == ["1", "2", "3"] and table[1]["train_loss"] == ""
    assert all(cell == "" or float(cell) == float(cell) for line in table for cell in line.values())
    assert "The loss of step 2 was not a finite number; it is left out." in scene.shop.messages(job)


def test_a_lost_worker_is_followed_by_another_from_the_checkpoint(scene: Scene) -> None:
    job = scene.shop.order()
    first = scene.training(job)
    first.step(1)
    first.checkpoint(1)
    first.step(2)
    scene.watch.tick()
    first.crash()
    second = scene.worker(job)
    assert second.spec["attempt"] == 3 and second.spec["earlier"][0] == str(first.directory)
    assert first.fence["attempt"] == 3  # should it still live, it ends itself
    second.tell("message", code="resumed", step=1)
    second.step(2)  # again: it is told once
    second.step(3)
    scene.watch.tick()
    row = scene.shop.get(job)
    assert row.resumed_from == [1] and row.status == "running"
    steps = [message for message in scene.shop.messages(job) if message.startswith("Step ")]
    assert steps == [f"Step {n}/10: training loss=1.50" for n in (1, 2, 3)]
    assert any("signal 9" in message for message in scene.shop.messages(job))


def test_fault_18_a_job_that_is_lost_without_progress_fails_after_a_few_times(scene: Scene) -> None:
    poison, other = scene.shop.order(), scene.shop.order()
    scene.training(poison)
    for count in range(MOST_LOST):
        assert scene.shop.get(poison).status == "running", count
        scene.worker(poison).crash(11)
        scene.watch.tick()
    row = scene.shop.get(poison)
    assert row.status == "failed" and row.error is not None and row.error["code"] == "worker_lost"
    assert "signal 11" in row.error["message"] and row.finished_at is not None
    scene.training(other).succeed()
    assert scene.status(other) == "succeeded"  # the next one is not held up


def test_progress_forgives_what_was_lost_before(scene: Scene) -> None:
    job = scene.shop.order()
    scene.training(job)
    for step in range(1, 2 * MOST_LOST):
        worker = scene.worker(job)
        worker.checkpoint(step)
        scene.watch.tick()
        worker.crash()
        scene.watch.tick()
    assert scene.shop.get(job).status == "running" and scene.shop.get(job).last_checkpoint == 2 * MOST_LOST - 1


def test_a_silent_worker_is_fenced_ended_and_replaced(sqlite_shop: Shop) -> None:
    scene, job = Scene(sqlite_shop), sqlite_shop.order()
    worker = scene.training(job)
    scene.watch._pace = SILENT
    worker.beat(1)
    scene.watch.tick()  # the beat is new
    assert not scene.executor.poll(worker.run_id).over
    scene.watch.tick()
    assert scene.executor.poll(worker.run_id).signal == 9
    assert worker.fence["attempt"] == 3
    assert "no sign of life" in " ".join(sqlite_shop.messages(job))


def test_fault_09_a_zombie_changes_nothing(scene: Scene) -> None:
    """It was lost, its job was done by another, and then it goes on as if nothing had happened."""
    job = scene.shop.order()
    zombie = scene.training(job)
    zombie.step(1)
    scene.watch.tick()
    scene.executor.lose(zombie.run_id)
    second = scene.worker(job)
    second.succeed(b"right")
    assert scene.status(job) == "succeeded"
    before, messages = vars(scene.shop.get(job)), scene.shop.messages(job)
    zombie.directory.mkdir(exist_ok=True)
    zombie.step(2)
    zombie.checkpoint(2)
    zombie.succeed(b"wrong")
    for _ in range(3):
        scene.watch.tick()
    after = vars(scene.shop.get(job))
    assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}
    assert scene.shop.messages(job) == messages


@pytest.mark.parametrize("told", ["heard", "validated", "failed", "lost", "back"])
def test_fault_09_every_write_of_an_old_attempt_changes_no_row(scene: Scene, told: str) -> None:
    job = scene.shop.order()
    scene.training(job)
    old = scene.shop.get(job)
    scene.worker(job).crash()
    scene.worker(job)
    values = {
        "heard": ([{"type": "metrics", "step": 9, "total_steps": 9, "loss": 0.0}], 99),
        "validated": ({"needs": {}, "plan": {}, "examples": {}, "estimate": {}},),
        "failed": ({"code": "x", "postil": "diverged", "message": "x"},), "lost": ("x",), "back": (),
    }[told]  # fmt: skip
    before = {k: v for k, v in vars(scene.shop.get(job)).items() if k[0] != "_"}
    assert getattr(scene.watch.lease, told)(old, *values) is False
    assert {k: v for k, v in vars(scene.shop.get(job)).items() if k[0] != "_"} == before


def test_a_cancelled_job_stops_its_worker(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    scene.shop.queue.cancel(LOCAL, job.id)
    worker.succeed()  # too late
    assert scene.status(job) == "cancelled"
    assert scene.shop.store.models.list(LOCAL) == []
    running = scene.shop.order()
    worker = scene.training(running)
    scene.shop.queue.cancel(LOCAL, running.id)
    scene.watch.tick()
    assert scene.executor.runs[worker.run_id].asked == [3.0] and worker.fence["attempt"] == 3
    scene.watch.tick()
    assert not worker.directory.exists() or not (worker.directory / "run").exists()


def test_pause_and_resume(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    scene.shop.queue.pause(LOCAL, job.id)
    scene.watch.tick()
    assert worker.fence == {"attempt": 2, "wish": "pause"}
    worker.checkpoint(4)
    worker.end("paused")
    assert scene.status(job) == "paused"
    assert "The job is paused after step 4." in scene.shop.messages(job)
    scene.shop.queue.resume(LOCAL, job.id)
    assert scene.status(job) == "running"
    assert scene.worker(job).fence == {"attempt": 3, "wish": None}


def test_a_pause_that_meets_a_crash_is_a_pause(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    scene.shop.queue.pause(LOCAL, job.id)
    worker.crash()
    assert scene.status(job) == "paused"


def test_stop_and_keep_reaches_the_worker_also_after_a_restart(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    worker.checkpoint(3)
    scene.watch.tick()
    scene.shop.queue.keep(LOCAL, job.id)
    scene.watch.tick()
    assert worker.fence["wish"] == "keep"
    worker.crash()
    assert scene.worker(job).spec["wish"] == "keep"


def test_a_worse_model_is_made_but_not_live(scene: Scene) -> None:
    job = scene.shop.order()
    scene.training(job).succeed(verdict="worse")
    assert scene.status(job) == "succeeded"
    assert not scene.shop.store.models.get(LOCAL, str(scene.shop.get(job).fine_tuned_model)).live


def test_what_is_wrong_with_the_job_fails_it_at_once(scene: Scene) -> None:
    job = scene.shop.order()
    scene.worker(job).fail("invalid_n_examples")
    assert scene.status(job) == "failed"
    error = scene.shop.get(job).error
    assert error is not None and (error["code"], error["param"]) == ("invalid_n_examples", "training_file")
    assert error["message"] == "It diverged. Use less."
    again = scene.shop.order()
    scene.training(again).fail("diverged")
    assert scene.status(again) == "failed" and scene.shop.get(again).error["param"] is None


def test_fault_11_a_full_disk_makes_a_job_wait_and_room_lets_it_go_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    monkeypatch.setattr(room, "free_bytes", lambda path: 0)
    worker.executor.exit(worker.run_id, 75)
    assert scene.status(job) == "queued" and scene.shop.get(job).hold == "storage_full"
    for _ in range(3):
        assert scene.status(job) == "queued"
    assert sum("256 MB of room" in message for message in scene.shop.messages(job)) == 1
    monkeypatch.setattr(room, "free_bytes", lambda path: 1 << 40)
    scene.watch.tick()
    assert scene.status(job) == "running" and scene.shop.get(job).without_progress == 0


def test_a_changed_file_is_not_published(scene: Scene) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    worker.succeed()
    (worker.directory / "run" / "adapter_model.safetensors").write_bytes(b"tampered")
    assert scene.status(job) in ("queued", "running")
    assert scene.shop.store.models.list(LOCAL) == []


def test_when_the_database_is_away_the_end_of_a_run_is_not_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.shop.order()
    worker = scene.training(job)
    worker.step(1)
    worker.succeed()

    def away(*args: object) -> bool:
        raise StoreError("database_unreachable", detail="gone")

    with monkeypatch.context() as patch:
        patch.setattr(scene.watch.lease, "heard", away)
        scene.watch.tick()
    assert scene.shop.get(job).status == "running"
    assert scene.status(job) == "succeeded"
    assert "Step 1/10: training loss=1.50" in scene.shop.messages(job)


# ── turns ──


def test_the_highest_priority_goes_first_then_the_oldest(sqlite_shop: Shop) -> None:
    scene = Scene(sqlite_shop, cpus=1.0)
    jobs = [sqlite_shop.order(priority=priority) for priority in (0, 5, 0)]
    for _ in range(3):
        for job in jobs:
            if sqlite_shop.get(job).status == "validating_files" and sqlite_shop.get(job).claimed:
                scene.worker(job).validated()
        scene.watch.tick()
    while any(sqlite_shop.get(job).status == "running" for job in jobs):
        running = [job for job in jobs if sqlite_shop.get(job).status == "running"]
        assert len(running) == 1
        scene.worker(running[0]).succeed()
        scene.watch.tick()
    assert all(sqlite_shop.get(job).status == "succeeded" for job in jobs)


def test_several_small_jobs_run_at_once_and_a_large_one_waits_but_not_for_ever(sqlite_shop: Shop) -> None:
    scene = Scene(sqlite_shop, cpus=8.0, memory_mb=3000)
    large = sqlite_shop.order()
    hindrance = sqlite_shop.order()
    for job, memory in ((large, 2900), (hindrance, 500)):
        scene.worker(job).validated(memory_mb=memory)
    # `large` is alone on an empty node or waits for `hindrance`; either way both end
    for _ in range(6):
        for job in (large, hindrance):
            if sqlite_shop.get(job).status == "running":
                scene.worker(job).succeed()
        scene.watch.tick()
    assert [sqlite_shop.get(job).status for job in (large, hindrance)] == ["succeeded", "succeeded"]
    small = [sqlite_shop.order() for _ in range(3)]
    for job in small * 2:
        if sqlite_shop.get(job).status == "validating_files":
            scene.worker(job).validated(memory_mb=300)
    scene.watch.tick()
    scene.watch.tick()
    assert sum(sqlite_shop.get(job).status == "running" for job in small) >= 2


def test_memory_that_others_hold_without_need_is_given_back_to_a_job(sqlite_shop: Shop) -> None:
    """An engine that nobody asks, say. It is left alone where that would help nobody."""
    asked = []

    def make_room() -> bool:
        asked.append(scene.executor.others_mb)
        freed, scene.executor.others_mb = scene.executor.others_mb > 0, 0
        return freed

    scene = Scene(sqlite_shop, cpus=4.0, memory_mb=4000)
    scene.watch = sqlite_shop.watch(scene.executor, CALM, make_room=make_room)
    scene.training(sqlite_shop.order())
    second = sqlite_shop.order()
    scene.worker(second).validated(memory_mb=2500)
    scene.executor.others_mb = 2000
    assert scene.status(second) == "running" and asked == [2000]
    scene.executor.others_mb, third = 100, sqlite_shop.order()
    scene.worker(third).validated(memory_mb=200)
    assert scene.status(third) == "running" and asked == [2000]
    fourth = sqlite_shop.order()
    scene.executor.others_mb = 0  # it is looked at, for which there is room
    validating = scene.worker(fourth)
    scene.executor.others_mb = 100
    validating.validated(memory_mb=3900, cpus=4)
    for _ in range(3):
        assert scene.status(fourth) == "queued"
    assert asked == [2000], "the cores are missing, too"


def test_a_job_that_this_machine_can_never_hold_says_so_once(sqlite_shop: Shop) -> None:
    scene = Scene(sqlite_shop, memory_mb=1000)
    job = sqlite_shop.order()
    scene.worker(job).validated(memory_mb=50_000)
    for _ in range(4):
        assert scene.status(job) == "queued"
    assert sum("50000 MB" in message for message in sqlite_shop.messages(job)) == 1


def test_who_goes_onto_a_gpu_finds_its_memory_as_free_as_it_can_be(sqlite_shop: Shop) -> None:
    """Who measures what the card can do, and who trains on it; not who waits for it, and not who needs none."""
    asked = []

    def make_room() -> bool:
        asked.append(len(scene.executor.launched))
        return False

    scene = Scene(sqlite_shop, cpus=8.0, gpus=1.0)
    scene.watch = sqlite_shop.watch(scene.executor, CALM, make_room=make_room)
    first, second, third = (sqlite_shop.order() for _ in range(3))
    for job, gpus in ((first, 1), (second, 1), (third, 0)):
        scene.worker(job).validated(gpus=gpus)
        scene.watch.tick()
    assert [sqlite_shop.get(job).status for job in (first, second, third)] == ["running", "queued", "running"]
    begun = [*(f"{job.id}:1" for job in (first, second, third)), f"{first.id}:2"]
    assert sorted(scene.executor.launched[count] for count in asked) == sorted(begun)


def test_a_job_for_a_gpu_that_is_not_there_says_so_and_holds_up_nobody(sqlite_shop: Shop) -> None:
    scene = Scene(sqlite_shop, cpus=8.0)
    job = sqlite_shop.order()
    scene.worker(job).validated(gpus=1)
    for _ in range(10):  # more often than one that does not fit for now would be passed over
        assert scene.status(job) == "queued"
    assert sum("GPU" in message for message in sqlite_shop.messages(job)) == 1
    later = sqlite_shop.order()
    scene.worker(later).validated()
    assert scene.status(later) == "running"


# ── servers ──


@pytest.mark.parametrize("wrote", ["outcome", "event"])
def test_a_worker_that_nobody_understands_is_given_up_and_holds_up_no_other(sqlite_shop: Shop, wrote: str) -> None:
    scene = Scene(sqlite_shop)
    odd, other = sqlite_shop.order(), sqlite_shop.order()
    worker, good = scene.worker(odd), scene.worker(other)
    if wrote == "outcome":
        worker.end("validated")  # and says nothing of what it needs
    else:
        worker.tell("checkpoint")  # and does not say which
    good.validated()
    scene.watch.tick()
    assert sqlite_shop.get(other).status == "running"
    row = sqlite_shop.get(odd)
    assert (row.status, row.attempt) == ("validating_files", 2), "it is done again"
    assert any("cannot be read (KeyError" in message for message in sqlite_shop.messages(odd))
    assert scene.executor.poll(worker.run_id).over
    scene.training(odd).succeed()
    assert scene.status(odd) == "succeeded"


def test_a_new_server_takes_up_what_runs(shop: Shop) -> None:
    scene, job = Scene(shop), shop.order()
    worker = scene.training(job)
    worker.step(1)
    scene.watch.tick()
    scene.watch.lease.leave()  # as after a kill: jobs name a server that nobody knows
    again = shop.watch(scene.executor, CALM)
    worker.step(2)
    again.tick()
    again.tick()
    row = shop.get(job)
    assert (row.server, row.attempt, row.status) == (again.lease.server, 2, "running")
    assert [m for m in shop.messages(job) if m.startswith("Step")] == [
        "Step 1/10: training loss=1.50", "Step 2/10: training loss=1.50",
    ]  # fmt: skip
    worker.succeed()
    again.tick()
    assert shop.get(job).status == "succeeded"


def test_what_ended_while_no_server_was_there_counts(shop: Shop) -> None:
    scene, job = Scene(shop), shop.order()
    worker = scene.training(job)
    scene.watch.lease.leave()
    worker.step(1)
    worker.succeed()
    again = shop.watch(scene.executor, CALM)
    again.tick()
    assert shop.get(job).status == "succeeded" and "Step 1/10: training loss=1.50" in shop.messages(job)


def test_a_living_server_keeps_its_jobs(shop: Shop) -> None:
    scene, job = Scene(shop), shop.order()
    scene.training(job)
    other = shop.watch(InMemoryExecutor(), QUICK)
    for _ in range(3):
        other.tick()
    assert shop.get(job).server == scene.watch.lease.server and shop.get(job).attempt == 2


def test_a_stopping_server_blames_nobody(scene: Scene) -> None:
    jobs = [scene.shop.order() for _ in range(2)]
    first = scene.training(jobs[0])
    first.checkpoint(2)
    scene.watch.tick()
    scene.watch.stop()
    row = scene.shop.get(jobs[0])
    assert (row.status, row.claimed, row.without_progress) == ("queued", False, 0)
    assert not any("lost" in message for message in scene.shop.messages(jobs[0]))


# ── other kinds ──


def test_evaluation_and_answers_are_jobs_too(scene: Scene) -> None:
    job = scene.shop.order()
    scene.training(job).succeed()
    scene.watch.tick()
    model = str(scene.shop.get(job).fine_tuned_model)
    other = scene.shop.order(kind="evaluation", model=model, training_file=scene.shop.file(purpose="evals"))
    assert other.status == "queued" and other.id.startswith("evaljob-")
    worker = scene.worker(other)
    assert worker.spec["adapter"].startswith(str(scene.shop.store.directory / "adapters"))
    (worker.directory / "run").mkdir()
    (worker.directory / "run" / "evaluation.json").write_bytes(b"{}")
    import hashlib

    worker.end("succeeded", result={"rows": 3}, files={"evaluation.json": hashlib.sha256(b"{}").hexdigest()})
    assert scene.status(other) == "succeeded"
    row = scene.shop.get(other)
    assert row.result == {"rows": 3} and row.fine_tuned_model is None
    file = scene.shop.store.files.get(LOCAL, row.result_files[0])
    assert (file.filename, scene.shop.store.files.open(file).read()) == ("evaluation.json", b"{}")
