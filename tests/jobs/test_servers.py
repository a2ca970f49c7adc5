"""Several servers at one queue: none takes what is another's, and nothing waits for one that is gone."""

from __future__ import annotations

import os

import pytest

from postil.errors import StoreError
from postil.jobs import InMemoryExecutor, Pace, RunState, Watch, processes
from postil.store.tables import Job
from tests.jobs.clock import Clock
from tests.jobs.puppet import Puppet
from tests.jobs.shop import Shop

PACE = Pace(tick=0.01, silence=30.0, patience=600.0, grace=0.1, sweep=0.0)
NOBODY = f"{2**22 + 7}/then"  # a process that is in no table


class Hosts:
    """Servers on one database. All of them have the same host name, as containers and copied machines do."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.clock = shop, Clock()

    def server(self, namespace: str, executor: InMemoryExecutor | None = None, process: str = NOBODY) -> Watch:
        watch = self.shop.watch(executor or InMemoryExecutor(cpus=8.0), PACE, clock=self.clock)
        watch._roll._namespace, watch._roll._process = namespace, process
        return watch

    def pass_by(self, seconds: float, *watches: Watch) -> None:
        """Time goes on, second by second, while these servers look."""
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            for watch in watches:
                watch.tick()


def worker(watch: Watch, job: Job) -> Puppet:
    """The worker of its newest attempt."""
    assert isinstance(watch._executor, InMemoryExecutor)
    return Puppet(watch._executor, [run for run in watch._executor.launched if run.startswith(job.id)][-1])


def training(hosts: Hosts, watch: Watch) -> tuple[Job, Puppet]:
    """A job that trains on this server."""
    job = hosts.shop.order()
    watch.tick()
    worker(watch, job).validated()
    watch.tick()
    return job, worker(watch, job)


@pytest.fixture
def hosts(shop: Shop) -> Hosts:
    return Hosts(shop)


def test_fault_21_servers_of_one_host_name_leave_each_others_jobs_alone(hosts: Hosts) -> None:
    """Each looks for the other's process in its own table, where the number is nobody's, or somebody else's."""
    first, second = hosts.server("a"), hosts.server("b", process=f"{os.getpid()}/another start")
    jobs = [training(hosts, watch) for watch in (first, second)]
    for count in range(45):
        for _, puppet in jobs:
            puppet.beat(count + 1)
        hosts.pass_by(1, first, second)
    rows = [hosts.shop.get(job) for job, _ in jobs]
    assert [row.server for row in rows] == [first.lease.server, second.lease.server]
    assert [(row.status, row.attempt, row.without_progress) for row in rows] == [("running", 2, 0)] * 2
    for _, puppet in jobs:
        puppet.succeed()
    hosts.pass_by(1, first, second)
    assert [hosts.shop.get(job).status for job, _ in jobs] == ["succeeded", "succeeded"]


def test_fault_21_a_server_that_is_gone_is_followed_at_once_where_that_can_be_proven(hosts: Hosts) -> None:
    here = processes.table()
    executor = InMemoryExecutor(cpus=8.0)
    first = hosts.server(here, executor)
    job, puppet = training(hosts, first)
    again = hosts.server(here, executor, processes.identity(os.getpid()))
    again.tick()
    assert hosts.shop.get(job).server == again.lease.server and hosts.shop.get(job).attempt == 2
    puppet.succeed()
    again.tick()
    assert hosts.shop.get(job).status == "succeeded"


@pytest.mark.parametrize("namespace", ["elsewhere", ""])
def test_fault_21_elsewhere_a_server_is_gone_when_it_has_been_silent(hosts: Hosts, namespace: str) -> None:
    """Also one of which nobody can say where it is: that of a version before, or on a system that does not tell."""
    first, second = hosts.server(namespace), hosts.server("here")
    job, puppet = training(hosts, first)
    hosts.pass_by(29, second)
    assert hosts.shop.get(job).server == first.lease.server
    second._executor.runs = first._executor.runs  # type: ignore[attr-defined]
    puppet.beat(1)
    hosts.pass_by(8, second)
    assert hosts.shop.get(job).server == second.lease.server and hosts.shop.get(job).attempt == 2


def test_fault_22_a_server_that_was_frozen_finds_its_jobs_with_another_and_leaves_them(hosts: Hosts) -> None:
    executor = InMemoryExecutor(cpus=8.0)
    frozen, second = hosts.server("a", executor), hosts.server("b", executor)
    job, puppet = training(hosts, frozen)
    for count in range(40):
        puppet.beat(count + 1)
        hosts.pass_by(1, second)
    assert hosts.shop.get(job).server == second.lease.server
    puppet.step(1)
    frozen.tick()
    assert not frozen._runs and not executor.poll(puppet.run_id).over and executor.runs[puppet.run_id].asked == []
    assert puppet.fence == {"attempt": 2, "wish": None}
    frozen.stop(0.0)
    assert executor.runs[puppet.run_id].asked == [], "it is not its worker any more"
    puppet.succeed()
    second.tick()
    row = hosts.shop.get(job)
    assert (row.status, row.attempt, row.without_progress) == ("succeeded", 2, 0)
    assert hosts.shop.messages(job).count("Step 1/10: training loss=1.50") == 1


@pytest.mark.parametrize("write", ["heard", "validated", "failed", "lost", "back", "succeed", "checkpoint"])
def test_fault_22_no_write_of_a_server_that_was_taken_for_dead_counts(hosts: Hosts, write: str) -> None:
    executor = InMemoryExecutor(cpus=8.0)
    frozen, second = hosts.server("a", executor), hosts.server("b", executor)
    job, puppet = training(hosts, frozen)
    puppet.checkpoint(1)
    puppet.succeed()
    before = hosts.shop.get(job)
    second.lease.adopt(frozen.lease.server)
    outcome = {"result": {"trained_tokens": 1}, "files": {}}
    values = {
        "heard": ([{"type": "metrics", "step": 9, "total_steps": 9, "loss": 0.0}], 99),
        "validated": ({"needs": {}, "plan": {}, "examples": {}, "estimate": {}},),
        "failed": ({"code": "x", "postil": "diverged", "message": "x"},), "lost": ("x",), "back": (),
    }  # fmt: skip
    expected = {**columns(before), "server": second.lease.server}
    if write in values:
        assert getattr(frozen.lease, write)(before, *values[write]) is False
    elif write == "checkpoint":
        frozen._publisher.checkpoint(before, puppet.directory, 1)
        assert hosts.shop.queue.checkpoints("proj_local", job.id).rows == []
    else:
        from postil.jobs.attempt import read_outcome

        told = read_outcome(puppet.directory) or outcome
        assert frozen._publisher.succeed(before, puppet.directory, told, []) is False
    assert columns(hosts.shop.get(job)) == expected


def columns(job: Job) -> dict[str, object]:
    return {name: value for name, value in vars(job).items() if name[0] != "_"}


def test_fault_22_a_server_that_was_taken_for_dead_begins_nothing_before_it_has_said_that_it_lives(
    hosts: Hosts,
) -> None:
    frozen, second = hosts.server("a"), hosts.server("b")
    frozen.tick()
    job = hosts.shop.order()
    second.lease.adopt(frozen.lease.server)
    assert frozen.lease.claim(job.id) is None
    hosts.pass_by(3, frozen)
    assert hosts.shop.get(job).server == frozen.lease.server


def test_fault_22_while_the_database_is_away_nobody_is_taken_for_dead(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = hosts.server("a"), hosts.server("b")
    job, puppet = training(hosts, first)
    second.tick()

    def away() -> None:
        raise StoreError("database_unreachable", detail="gone")

    with monkeypatch.context() as patch:
        patch.setattr(second._roll, "beat", away)
        for _ in range(60):
            hosts.clock.now += 1.0
            second._guarded(second.tick)
    puppet.beat(1)
    second.tick()  # before the other has come to beat again
    hosts.pass_by(5, first, second)
    assert hosts.shop.get(job).server == first.lease.server and hosts.shop.get(job).attempt == 2


def test_a_server_at_a_long_step_goes_on_beating(hosts: Hosts) -> None:
    """Copying a large file, say: the loop comes round later, and the server lives all the same."""
    first, second = hosts.server("a"), hosts.server("b")
    job, puppet = training(hosts, first)
    for count in range(60):
        hosts.clock.now += 1.0
        puppet.beat(count)
        first._guarded(first._roll.beat)
        second.tick()
    assert hosts.shop.get(job).server == first.lease.server


def test_two_servers_on_one_machine_know_what_both_have_started(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would give the same GPU away."""
    here = processes.table()
    first, second = hosts.server(here), hosts.server(here, process=processes.identity(os.getpid()))
    first._roll._process = processes.identity(os.getpid())
    asked = []
    monkeypatch.setattr(second._executor, "reattach", lambda: asked.append(1) or [])
    first.tick()
    second.tick()
    assert second._roll.has_neighbours and not asked
    hosts.shop.order()
    second.tick()
    assert asked


def test_fault_21_a_worker_that_outlives_its_server_on_another_machine_is_followed_by_its_files(hosts: Hosts) -> None:
    first, second = hosts.server("a"), hosts.server("b")
    job, puppet = training(hosts, first)
    second._executor.poll = lambda run_id: RunState("apart")  # type: ignore[method-assign]
    for count in range(60):
        puppet.beat(count + 1)
        hosts.pass_by(1, second)
    puppet.step(3)
    puppet.succeed()
    hosts.pass_by(1, second)
    row = hosts.shop.get(job)
    assert (row.status, row.attempt, row.without_progress, row.progress["step"]) == ("succeeded", 2, 0, 3)
    assert not second._runs


def test_fault_21_one_that_is_silent_there_is_fenced_and_done_again(hosts: Hosts) -> None:
    first, second = hosts.server("a"), hosts.server("b")
    job, puppet = training(hosts, first)
    puppet.beat(1)
    apart = RunState("apart")
    real = second._executor.poll
    second._executor.poll = lambda run_id: apart if run_id == puppet.run_id else real(run_id)  # type: ignore[method-assign]
    hosts.pass_by(80, second)
    assert puppet.fence["attempt"] == 3
    row = hosts.shop.get(job)
    assert (row.status, row.attempt, row.server) == ("running", 3, second.lease.server)
