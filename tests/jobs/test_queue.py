"""What clients may do with jobs, and what they are refused."""

from __future__ import annotations

import re
import threading

import pytest
from sqlalchemy import update

from postil.errors import PostilError
from postil.jobs import Order, model_name
from postil.store import LOCAL, Asked
from postil.store.tables import Job
from tests.jobs.shop import BASE, Shop


def refused(call: object, *args: object, **kwargs: object) -> str:
    with pytest.raises(PostilError) as error:
        call(*args, **kwargs)
    assert error.value.cause("zh") and error.value.remedy("en")
    return error.value.code


def put(shop: Shop, job: Job, **values: object) -> None:
    """Bring a job into some state."""
    with shop.store.database.write() as session:
        session.execute(update(Job).where(Job.id == job.id).values(**values))


def test_a_new_job_waits_to_be_looked_at(shop: Shop) -> None:
    job = shop.order(suffix="客服 Bot", metadata={"team": "a"})
    assert (job.status, job.attempt, job.claimed, job.seed) == ("validating_files", 0, False, 7)
    assert shop.messages(job) == [
        f"Created fine-tuning job: {job.id}", f"Validating training file: {job.training_file}",
    ]  # fmt: skip
    assert shop.queue.labels([job.id]) == {job.id: {"team": "a"}}
    assert re.fullmatch(r"ftjob-[a-z2-7]{24}", job.id)


def test_a_seed_is_always_there(shop: Shop) -> None:
    seeds = {shop.order(seed=None).seed for _ in range(3)}
    assert len(seeds) == 3 and all(0 <= seed < 2**31 for seed in seeds)


def test_what_is_not_there_is_refused_before_a_job_is_made(shop: Shop) -> None:
    file = shop.file()
    assert refused(shop.order, model="gpt-4o-mini") == "model_not_found"
    assert refused(shop.order, model="/etc/passwd") == "model_not_found"
    assert refused(shop.order, model="../../x") == "model_not_found"
    assert refused(shop.order, training_file="file-none") == "file_not_found"
    assert refused(shop.order, training_file=file, validation_file="file-none") == "file_not_found"
    assert refused(shop.order, training_file=shop.file(purpose="evals")) == "invalid_file_purpose"
    shop.store.files.judged(file, "line 3: no answer")
    assert refused(shop.order, training_file=file) == "file_not_ready"
    assert refused(shop.order, kind="evaluation", training_file=shop.file()) == "model_not_tuned"
    assert shop.queue.list(LOCAL).rows == []


def test_attack_23_validation_that_is_the_training_data_is_told(shop: Shop) -> None:
    file = shop.file()
    same, other = shop.order(training_file=file, validation_file=shop.file()), shop.order(training_file=file)
    assert "same content" in shop.messages(same)[-1] and "same content" not in shop.messages(other)[-1]
    named = f"Validating training file: {file} and validation file: {same.validation_file}"
    assert named in shop.messages(same)


def test_another_projects_job_does_not_exist(shop: Shop) -> None:
    job = shop.order()
    delete = shop.queue.delete
    for call in (
        shop.queue.get,
        shop.queue.cancel,
        shop.queue.pause,
        shop.queue.resume,
        shop.queue.keep,
        delete,
        shop.queue.events,
        shop.queue.checkpoints,
    ):
        assert refused(call, "proj_other", job.id) == "job_not_found"
    assert refused(shop.queue.events_since, "proj_other", job.id, 0) == "job_not_found"
    assert shop.queue.list("proj_other").rows == []
    assert refused(shop.queue.create, "proj_other", Order("training", BASE, str(job.training_file))) == "file_not_found"


# every action in every state: contract 5.4
STATES = ("validating_files", "queued", "running", "paused", "cancelled", "succeeded", "failed")
EXPECTED = {
    "cancel": ("cancelled", "cancelled", "cancelled", "cancelled", "cancelled", "job_already_terminal",
               "job_already_terminal"),
    "pause": ("paused", "paused", "running", "paused", "job_not_pausable", "job_not_pausable",
              "job_not_pausable"),
    "resume": ("validating_files", "queued", "running", "queued", "job_not_resumable", "job_not_resumable",
               "job_not_resumable"),
    "keep": ("nothing_to_keep", "nothing_to_keep", "running", "nothing_to_keep", "nothing_to_keep", "nothing_to_keep",
             "nothing_to_keep"),
}  # fmt: skip
CASES = [(action, state, wanted) for action, row in EXPECTED.items() for state, wanted in zip(STATES, row, strict=True)]


@pytest.mark.parametrize(("action", "state", "wanted"), CASES)
def test_every_action_in_every_state(sqlite_shop: Shop, action: str, state: str, wanted: str) -> None:
    job = sqlite_shop.order()
    put(sqlite_shop, job, status=state, claimed=state == "running", attempt=1,
        resolved={"n_epochs": 1} if state != "validating_files" else {})  # fmt: skip
    before = len(sqlite_shop.messages(job))
    if wanted in STATES:
        for _ in range(2):  # twice is once
            assert getattr(sqlite_shop.queue, action)(LOCAL, job.id).status == wanted
        assert len(sqlite_shop.messages(job)) - before == (wanted != state)
    else:
        assert refused(getattr(sqlite_shop.queue, action), LOCAL, job.id) == wanted
        assert sqlite_shop.get(job).status == state
    assert (sqlite_shop.get(job).finished_at is not None) == (wanted == "cancelled" and state != "cancelled")


def test_a_wish_is_taken_back(sqlite_shop: Shop) -> None:
    job = sqlite_shop.order()
    put(sqlite_shop, job, status="running", claimed=True, attempt=1, resolved={"n_epochs": 1})
    assert sqlite_shop.queue.pause(LOCAL, job.id).wish == "pause"
    assert sqlite_shop.queue.resume(LOCAL, job.id).wish is None
    put(sqlite_shop, job, status="paused", claimed=False, last_checkpoint=5)
    kept = sqlite_shop.queue.keep(LOCAL, job.id)
    assert (kept.status, kept.wish) == ("queued", "keep")


def test_a_file_in_use_stays(shop: Shop) -> None:
    job = shop.order()
    assert refused(shop.store.files.delete, LOCAL, job.training_file) == "file_in_use"
    assert refused(shop.queue.delete, LOCAL, job.id) == "job_not_ended"
    shop.queue.cancel(LOCAL, job.id)
    shop.store.files.delete(LOCAL, str(job.training_file))
    shop.queue.delete(LOCAL, job.id)
    assert refused(shop.queue.get, LOCAL, job.id) == "job_not_found"


def test_pages_and_labels(shop: Shop) -> None:
    file = shop.file()
    jobs = [shop.order(training_file=file, metadata={"n": str(i % 2), "all": "x"} if i else {}) for i in range(5)]
    seen, after = [], None
    while True:
        page = shop.queue.list(LOCAL, limit=2, after=after)
        seen += [row.id for row in page.rows]
        if not page.more:
            break
        after = seen[-1]
        shop.order(training_file=file)
    assert seen == [job.id for job in jobs[::-1]]
    odd = shop.queue.list(LOCAL, metadata={"n": "1", "all": "x"}).rows
    assert [row.id for row in odd] == [jobs[3].id, jobs[1].id]
    assert jobs[0].id in [row.id for row in shop.queue.list(LOCAL, unlabelled=True).rows]
    assert jobs[1].id not in [row.id for row in shop.queue.list(LOCAL, unlabelled=True).rows]
    assert refused(shop.queue.list, LOCAL, after="ftjob-none") == "invalid_cursor"
    assert shop.queue.list(LOCAL, kinds=("evaluation",)).rows == []


def test_events_are_paged_newest_first_and_followed_oldest_first(shop: Shop) -> None:
    job = shop.order()
    shop.queue.cancel(LOCAL, job.id)
    page = shop.queue.events(LOCAL, job.id, limit=2)
    assert [event.number for event in page.rows] == [3, 2] and page.more
    rest = shop.queue.events(LOCAL, job.id, limit=2, after=page.rows[-1].id)
    assert [event.number for event in rest.rows] == [1] and not rest.more
    row, events = shop.queue.events_since(LOCAL, job.id, 1)
    assert row.status == "cancelled" and [event.number for event in events] == [2, 3]
    assert shop.queue.events_since(LOCAL, job.id, 3)[1] == []


def test_the_place_in_the_queue(shop: Shop) -> None:
    file = shop.file()
    low, high, last = (shop.order(training_file=file, priority=p) for p in (0, 5, 0))
    for job in (low, high, last):
        put(shop, job, status="queued")
    assert [shop.queue.position(shop.get(job)) for job in (low, high, last)] == [1, 0, 2]


def test_a_job_is_attached_to_its_request(shop: Shop) -> None:
    reply, _ = shop.store.replies.begin(Asked("key_1", "POST", "/v1/fine_tuning/jobs", "b", "t"))
    job = shop.queue.create(LOCAL, Order("training", BASE, shop.file()), reply=reply.id)
    assert shop.store.replies.begin(Asked("key_1", "POST", "/v1/fine_tuning/jobs", "b", "t"))[0].object_id == job.id


def test_cancelled_by_many_at_once_it_ends_once(shop: Shop) -> None:
    job = shop.order()
    threads = [threading.Thread(target=shop.queue.cancel, args=(LOCAL, job.id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.messages(job).count("The job was cancelled.") == 1


@pytest.mark.parametrize(("suffix", "part"), [
    ("Billing Bot!", "billing-bot"), (None, ""), ("客服", ""), ("ＡＢＣ／../x", "abc-..-x"), ("a:b", "a-b"),
    ("v1.2_b", "v1.2_b"),
])  # fmt: skip
def test_names_of_models(suffix: str | None, part: str) -> None:
    name = model_name("qwen3-0.6b", "proj_team", suffix)
    assert re.fullmatch(rf"ft:qwen3-0\.6b:team:{re.escape(part)}:[a-z2-7]{{8}}", name)
