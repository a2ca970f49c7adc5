"""How the server stands a crowd: 1000 jobs in the queue, 200 clients that each read once in 5 s, 20 event streams.

    python benchmarks/load.py [ready] [load] [--seconds 60]
    python benchmarks/load.py soak --minutes 60

The server is the real one (gate, routes, store, watch) in a process of its own; its executor says that the machine is
busy, so that the queue stays as long as it is. The 20 jobs that are watched tell an update twice a second, as running
ones do. Nothing is generated and no model is loaded. During a soak, people look at pages in five browser windows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` as a package, from wherever it is called

import httpx  # noqa: E402
import psutil  # noqa: E402

from benchmarks import browsers, results  # noqa: E402
from postil.settings import EMBEDDED, for_child  # noqa: E402

ROOT = Path(__file__).parents[1]
JOBS, CLIENTS, STREAMS, EVERY = 1000, 200, 20, 5.0
PAUSE = 0.5  # between two updates of a job that is watched
WARM_SECONDS = 10.0
BAR_MS, BAR_MB, BAR_READY = 200.0, 1.0, 3.0
READS = ("/fine_tuning/jobs/{job}", "/fine_tuning/jobs/{job}/events", "/fine_tuning/jobs?limit=20", "/models",
         "/fine_tuning/jobs/{job}/checkpoints", "/files")  # fmt: skip


@dataclass
class Crowd:
    """What the clients saw."""

    waited: list[tuple[str, float]] = field(default_factory=list)  # which read, and its milliseconds
    failed: list[str] = field(default_factory=list)
    orders: int = 0
    streamed: dict[str, list[int]] = field(default_factory=dict)  # job -> numbers of the events that came
    pages: int = 0  # how often one was opened in a browser


# ── the server's process ──


def serve(directory: Path) -> None:
    """Prints one JSON line with port, key and jobs, then serves until its input ends."""
    import threading

    import postil.api.server as door
    from postil.api.app import create_app
    from postil.api.asking import ask
    from postil.api.house import House
    from postil.jobs import Queue, Slot, Watch
    from postil.jobs.executor import InMemoryExecutor
    from postil.model.memory import share_arenas
    from postil.store import Store
    from postil.web import attach

    class Busy(InMemoryExecutor):
        """A machine on which nothing more fits."""

        def capacity(self) -> list[Slot]:
            return [Slot("busy", 0.0, 0, 0.0, 1 << 20, 1)]

    class Stocked(House):
        """Orders are taken as if every base lay here; none is run."""

        def lacks(self, name: str) -> bool:
            return False

    share_arenas()  # as `postil serve` does
    store = Store(directory)
    queue = Queue(store)
    key, waiting, running = furnish(store, queue)
    watch = Watch(store, Busy())
    house = Stocked(store, queue, lambda base: _no_engine(), lambda path: None, ask)
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = bound.getsockname()[1]
    named = door.addresses("127.0.0.1", port, "")
    paths: list[str] = []
    app = create_app(house, lambda: named, begin=watch.start, end=lambda: watch.stop(grace=1.0),
                     pages=lambda app: paths.append(attach(app, house)))  # fmt: skip
    server = door.Server(door.configured(app, sockets=True), house)
    over = threading.Event()
    teller = threading.Thread(target=tell, args=(store, running, over), daemon=True)
    teller.start()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        over.set()
        teller.join()
        time.sleep(4 * PAUSE)  # so that the last ones can arrive
        house.closing.set()
        server.should_exit = True

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    shown = ["/jobs", f"/jobs/{running[0].id}", f"/jobs/{running[0].id}", "/compare", f"/data/{sheet(store)}"]
    print(json.dumps({"port": port, "key": key, "waiting": waiting, "running": [one.id for one in running],
                      "link": paths[0], "pages": shown}), flush=True)  # fmt: skip
    server.run(sockets=[bound])
    store.close()


def _no_engine() -> Any:
    raise AssertionError("nothing is generated here")


def furnish(store: Any, queue: Any) -> tuple[str, list[str], list[Any]]:
    """A key, the jobs that wait, and those that run."""
    from postil.jobs import Order
    from postil.jobs.lease import Lease
    from postil.store import LOCAL, SCOPES

    key = store.keys.create(LOCAL, "load", SCOPES)[1]
    with store.files.incoming() as made:
        made.write(b'{"messages": []}\n' * 100)
        file = store.files.keep(LOCAL, "train.jsonl", "fine-tune", made).id
    lease = Lease(store, "server_of_the_benchmark")
    lease.beat("elsewhere", "0/none")
    told = {"needs": {"memory_mb": 900, "cpus": 1, "gpus": 0}, "plan": {"n_epochs": 3}, "examples": {}, "estimate": {}}
    waiting, running = [], []
    for number in range(JOBS + STREAMS):
        job = queue.create(LOCAL, Order(kind="training", model=EMBEDDED, training_file=file, seed=number))
        lease.validated(lease.claim(job.id), told)
        if number < JOBS:
            waiting.append(job.id)
        else:
            running.append(lease.claim(job.id))
    return key, waiting, running


def sheet(store: Any) -> str:
    """A data set to look at, and a model to compare."""
    from postil.store import LOCAL
    from postil.store.models import add

    with store.files.incoming() as rows:
        rows.write(b"question,answer\n" + b"".join(b"question %d,answer %d\n" % (i, i) for i in range(200)))
        file = store.files.keep(LOCAL, "rows.csv", "user_data", rows)
    directory = store.directory / "adapters" / "benchmark"
    directory.mkdir(parents=True)
    (directory / "plan.json").write_text(json.dumps({"plan": {}}))
    with store.database.write() as session:
        add(session, project=LOCAL, name=f"ft:{EMBEDDED}:local::benchmark", base=EMBEDDED, base_sha256="0" * 64,
            adapter_sha256="1" * 64, directory=str(directory.relative_to(store.directory)))  # fmt: skip
    return str(store.datasets.create(LOCAL, "rows.csv", file.id, {}).id)


def tell(store: Any, running: Sequence[Any], over: Any) -> None:
    """What the watch writes down while jobs run."""
    from postil.jobs.lease import Lease

    lease, step = Lease(store, "server_of_the_benchmark"), 0
    while not over.is_set():
        step += 1
        lease.beat("elsewhere", "0/none")
        for job in running:
            line = {"type": "metrics", "step": step, "total_steps": 10**6, "loss": 1.0, "seconds_left": 9.0}
            assert lease.heard(job, [line], step)
        over.wait(PAUSE)


# ── the clients ──


def client_of(url: str, key: str) -> httpx.AsyncClient:
    """With a connection of its own; `verify=False` only spares it the reading of certificates, which HTTP needs not."""
    return httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60, verify=False)


async def reader(number: int, url: str, key: str, jobs: Sequence[str], crowd: Crowd, begin: float, end: float) -> None:
    chance = random.Random(number)
    async with client_of(url, key) as client:
        await asyncio.sleep(chance.random() * EVERY)
        while time.monotonic() < end:
            kind = chance.choice(READS)
            started = time.monotonic()
            try:
                answer = await client.get(kind.format(job=chance.choice(jobs)))
                if answer.status_code != 200:
                    crowd.failed.append(f"{kind}: {answer.status_code}")
            except httpx.HTTPError as error:
                crowd.failed.append(f"{kind}: {type(error).__name__}")
            waited = time.monotonic() - started
            if started > begin:
                crowd.waited.append((kind, waited * 1e3))
            await asyncio.sleep(max(0.0, EVERY - waited))


async def listener(url: str, key: str, job: str, crowd: Crowd) -> None:
    """Until the server ends the stream."""
    numbers = crowd.streamed.setdefault(job, [])
    kind = ""
    async with client_of(url, key) as client, client.stream("GET", f"/postil/jobs/{job}/live") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: ") and kind == "event":
                numbers.append(json.loads(line[6:])["number"])


async def busybody(url: str, key: str, crowd: Crowd, end: float) -> None:
    """Once a second: a file comes, a job is ordered, cancelled and forgotten, and the file goes."""
    async with client_of(url, key) as client:
        while time.monotonic() < end:
            content = json.dumps({"messages": [{"role": "user", "content": str(time.time())}]}).encode()
            sent = await client.post("/files", data={"purpose": "user_data"}, files={"file": ("a.jsonl", content)})
            file = sent.json()["id"]
            order = {"model": "smollm2-135m-instruct", "training_file": file}
            job = (await client.post("/fine_tuning/jobs", json=order)).json()["id"]
            for method, path in (("POST", f"/fine_tuning/jobs/{job}/cancel"), ("DELETE", f"/postil/jobs/{job}"),
                                 ("DELETE", f"/files/{file}")):  # fmt: skip
                answer = await client.request(method, path)
                if answer.status_code != 200:
                    crowd.failed.append(f"{method} {path}: {answer.status_code}")
            crowd.orders += 1
            await asyncio.sleep(1.0)


async def onlookers(told: dict[str, Any], crowd: Crowd, end: float) -> None:
    """Whoever looks at pages in a browser."""
    link = f"http://127.0.0.1:{told['port']}{told['link']}"
    crowd.pages = await browsers.look(link, told["pages"], end, crowd.failed)


async def crowd_of(told: dict[str, Any], seconds: float, process: psutil.Process, sample: list[tuple[float, float]],
                   finish: Any, *, soaked: bool) -> Crowd:  # fmt: skip
    """All of them at once; `sample` gets (seconds since the begin, MB held by the server) all along."""
    crowd, url, key = Crowd(), f"http://127.0.0.1:{told['port']}/v1", told["key"]
    jobs = [*told["waiting"], *told["running"]]
    first = time.monotonic()
    begin, end = first + WARM_SECONDS, first + WARM_SECONDS + seconds
    listeners = [asyncio.create_task(listener(url, key, job, crowd)) for job in told["running"]]
    readers = [asyncio.create_task(reader(i, url, key, jobs, crowd, begin, end)) for i in range(CLIENTS)]
    if soaked:
        readers.append(asyncio.create_task(busybody(url, key, crowd, end)))
        readers.append(asyncio.create_task(onlookers(told, crowd, end)))
    while time.monotonic() < end:
        sample.append((time.monotonic() - first, process.memory_info().rss / (1 << 20)))
        await asyncio.sleep(min(2.0, max(0.0, end - time.monotonic())))
    await asyncio.gather(*readers)
    finish()
    await asyncio.gather(*listeners)
    return crowd


def measured(seconds: float, *, soaked: bool = False) -> tuple[Crowd, list[tuple[float, float]], list[str]]:
    """The crowd at a server of its own; then what the store holds is compared with what came."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = {**for_child(), "POSTIL_HOME": str(place / "home")}
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(place / "data")], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        told = json.loads(process.stdout.readline())
        own, sample = psutil.Process(process.pid), list[tuple[float, float]]()
        crowd = asyncio.run(crowd_of(told, seconds, own, sample, process.stdin.close, soaked=soaked))
        process.wait(60)
        process.stdout.close()
        gone = lost(place / "data", told, crowd)
    return crowd, sample, gone


def lost(directory: Path, told: dict[str, Any], crowd: Crowd) -> list[str]:
    """Jobs that are not there any more, and events that were written but did not come, or not once and in order."""
    from postil.jobs import Queue
    from postil.store import LOCAL, Store

    store = Store(directory)
    queue, found = Queue(store), []
    try:
        for job_id in (*told["waiting"], *told["running"]):
            job = queue.get(LOCAL, job_id)
            if job_id in crowd.streamed and crowd.streamed[job_id] != list(range(1, job.events + 1)):
                found.append(f"{job_id}: {len(crowd.streamed[job_id])} of {job.events} events")
        store.database.check()
    finally:
        store.close()
    return found


def load(seconds: float, command: str) -> bool:
    """Returns whether the bar is held."""
    before = psutil.getloadavg()[0]
    crowd, _, gone = measured(seconds)
    took = sorted(ms for _, ms in crowd.waited)
    at = {share: took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.95, 0.99)}
    events = sum(map(len, crowd.streamed.values()))
    kept = at[0.95] < BAR_MS and not crowd.failed and not gone
    row = (f"{len(took)} in {seconds:.0f} s", *(f"{at[share]:.1f}" for share in (0.5, 0.95, 0.99)), f"{took[-1]:.1f}",
           str(len(crowd.failed)), f"{events} / {len(gone)} jobs", "yes" if kept else "no")  # fmt: skip
    header = ("reads", "median ms", "95% ms", "99% ms", "longest ms", "refused", "events streamed / not whole",
              f"95% < {BAR_MS:.0f} ms, nothing lost")  # fmt: skip
    each = results.table(("read", "number", "median ms", "95% ms"), [
        (f"`{kind}`", str(len(own)), f"{statistics.median(own):.1f}", f"{own[int(len(own) * 0.95)]:.1f}")
        for kind in READS if (own := sorted(ms for one, ms in crowd.waited if one == kind))
    ])  # fmt: skip
    about = (
        f"{JOBS} jobs wait, {CLIENTS} clients read once in {EVERY:.0f} s each, {STREAMS} event streams with two "
        f"updates a second each; clients and server on the same cores. Load average before: {before:.1f}."
    )
    results.write("load", command, f"{about}\n\n{results.table(header, [row])}\n\n{each}")
    print(*crowd.failed[:5], *gone[:5], sep="\n")
    return kept


def soak(minutes: float, command: str) -> bool:
    """The same for long: what the server holds may not grow. The first ten minutes do not count."""
    crowd, sample, gone = measured(minutes * 60, soaked=True)
    window = 600.0 if minutes >= 20 else minutes * 60 / 6  # a look: six windows, whatever the time
    marks = [(i + 1) * window for i in range(int(minutes * 60 / window))]
    held = [statistics.median(mb for at, mb in sample if mark - max(4.0, window / 10) <= at < mark) for mark in marks]
    growth = [(b - a) * 600.0 / window for a, b in pairwise(held)]
    mean = (held[-1] - held[0]) / max(1, len(growth)) * 600.0 / window
    above = sum(one >= BAR_MB for one in growth)
    kept = not above and not crowd.failed and not gone
    rows = [(f"{mark / 60:.1f}", f"{mb:.1f}", f"{more:+.2f}" if more is not None else "")
            for mark, mb, more in zip(marks, held, [None, *growth], strict=True)]  # fmt: skip
    text = results.table(("minute", "server, MB", "MB per 10 min since the line before"), rows)
    about = (
        f"{minutes:.0f} minutes of the load above: {len(crowd.waited)} reads and {crowd.orders} uploads with a job "
        f"that is ordered, cancelled and forgotten; five browser windows with pages open, {crowd.pages} times opened; "
        f"{len(crowd.failed)} refused, {len(gone)} streams not whole. "
        f"Bar (< {BAR_MB:.0f} MB per 10 min after the first mark): {'held' if kept else 'not held'}; {above} of "
        f"{len(growth)} steps above it; from the first mark to the last {mean:+.2f} MB per 10 min."
    )
    results.write("soak", command, f"{about}\n\n{text}")
    print(*crowd.failed[:5], *gone[:5], sep="\n")
    return kept


def ready(rounds: int, command: str) -> bool:
    """Seconds from the start of `postil serve` to its first answer: with new data, and with data that are there."""
    took: dict[str, list[tuple[float, float]]] = {"new": [], "again": []}
    before = psutil.getloadavg()[0]
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for kind in took:
                took[kind].append(_start(Path(folder)))
    kept = all(statistics.median(wall for wall, _ in each[1:]) < BAR_READY for each in took.values())
    rows = [(name, *(results.spread(one[clock] for one in took[kind][1:]) for clock in (0, 1)))
            for kind, name in (("new", "first start"), ("again", "later start"))]  # fmt: skip
    text = results.table(("", "wall s", "CPU s"), rows)
    about = f"Bar (median of wall s < {BAR_READY:.0f}): {'held' if kept else 'not held'}."
    results.write(
        "ready", command, f"`postil serve` until it answers. Load average before: {before:.1f}. {about}\n\n{text}"
    )
    return kept


def _start(home: Path) -> tuple[float, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "postil", "serve", "--port", str(port)], cwd=ROOT,
                               env={**for_child(), "POSTIL_HOME": str(home)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        while True:
            assert process.poll() is None and time.monotonic() - began < 60
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    return time.monotonic() - began, sum(psutil.Process(process.pid).cpu_times()[:2])
            except httpx.TransportError:
                time.sleep(0.01)
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=["ready", "load", "soak", []], help="by default ready and load")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a look: short, and printed only")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    seconds, rounds = (15.0, 2) if given.quick else (given.seconds, given.rounds)
    command = f"python benchmarks/load.py {{}}{' --quick' * given.quick}"
    kept = True
    for name in given.sections or ["ready", "load"]:
        if name == "ready":
            kept &= ready(rounds, command.format(name))
        elif name == "load":
            kept &= load(seconds, command.format(f"load --seconds {seconds:.0f}"))
        else:
            kept &= soak(given.minutes, command.format(f"soak --minutes {given.minutes:g}"))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
