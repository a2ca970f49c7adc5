"""Updates of all sides in turn, on the same rows: seconds an epoch, tokens a second, useful_fraction, memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import results
from benchmarks.results import spread
from benchmarks.shapes import SHAPES, Shape
from benchmarks.side import Took, children

AGAINST = "script (b)"
ALL = ["script (b)", "script (a)", "TRL padded", "TRL unpadded", "TRL packed", "Postil plain", "Postil shared"]
THREADS = {"CPU": 1, "wall": 2}  # CPU time is taken on one thread, wall time on two
HEADER = (
    "side", "epoch, CPU s, 1 thread", "(b) / it", "epoch, wall s, 2 threads", "(b) / it", "tokens/s", "loss tokens/s",
    "useful_fraction", "peak above weights, MB",
)  # fmt: skip


@dataclass
class Measured:
    """The rounds of all sides, and the peak matmul rates of the same minutes."""

    shape: Shape
    rounds: dict[str, dict[str, list[Took]]] = field(default_factory=dict)  # side -> "CPU" | "wall" -> rounds

    def epoch(self, side: str, clock: str) -> list[float]:
        """Seconds an epoch, by each round."""
        return [_seconds(took, clock) / took.share for took in self.rounds[side][clock]]

    def ratio(self, side: str, clock: str, over: str = AGAINST) -> list[float]:
        """How many times longer `over` takes, in the same rounds."""
        pairs = zip(self.epoch(over, clock), self.epoch(side, clock), strict=True)
        return [theirs / its for theirs, its in pairs]

    def useful(self, side: str, *, shared: bool, clock: str = "CPU", peak: str = "matmul") -> list[float]:
        """F_min over what the machine could have done in that time."""
        found = []
        for i, took in enumerate(self.rounds[side][clock]):
            update = self.shape.update(i + 1)
            share = took.share * len(self.shape.rows) / len(update)  # of the work of these very rows
            best = self.rounds[peak][clock][i]
            able = best.cpu_rate if clock == "CPU" else best.wall_rate
            found.append(share * self.shape.least(update, shared=shared) / (_seconds(took, clock) * able))
        return found

    def above(self, side: str) -> float:
        """The peak of memory above the weights, in MB."""
        return max(took.above for rounds in self.rounds[side].values() for took in rounds) / 1e6


def _seconds(took: Took, clock: str) -> float:
    return took.cpu if clock == "CPU" else took.wall


def measure(shape: Shape, sides: list[str], rounds: int, clocks: tuple[str, ...] = ("CPU", "wall"),
            peak: str = "matmul") -> Measured:  # fmt: skip
    """Every side does the same update before any does the next. Update 0 warms up and is not counted."""
    measured = Measured(shape, {side: {clock: [] for clock in clocks} for side in [*sides, peak]})
    with children([*sides, peak], shape.name) as found:
        for index in range(rounds + 1):
            for clock in clocks:
                if not index and clock != clocks[0]:
                    continue
                for side, child in found.items():
                    took = child.update(index, THREADS[clock])
                    print(f"{shape.name} {index} {side}: {took}", file=sys.stderr, flush=True)
                    if index:
                        measured.rounds[side][clock].append(took)
    return measured


def page(measured: Measured) -> str:
    """The section of a shape."""
    shape = measured.shape
    rows = []
    for side in (side for side in measured.rounds if side != "matmul"):
        useful = spread(measured.useful(side, shared=False))
        if side == "Postil shared":
            useful += f"; of the tokens computed {spread(measured.useful(side, shared=True))}"
        seconds = sorted(measured.epoch(side, "CPU"))[len(measured.epoch(side, "CPU")) // 2]
        rows.append((
            side, spread(measured.epoch(side, "CPU"), 1), spread(measured.ratio(side, "CPU")),
            spread(measured.epoch(side, "wall"), 1), spread(measured.ratio(side, "wall")),
            f"{shape.tokens / seconds:.0f}", f"{shape.learned / seconds:.1f}", useful, f"{measured.above(side):.0f}",
        ))  # fmt: skip
    return "\n\n".join([shape.told(), results.table(HEADER, rows), *_below(measured)])


def _below(measured: Measured) -> list[str]:
    found = [_peers(measured)] if any(side.startswith("TRL") for side in measured.rounds) else []
    rate = [took.cpu_rate / 1e9 for took in measured.rounds["matmul"]["CPU"]]
    found.append(
        f"Ceiling from these rows: {measured.shape.ceiling():.2f} (the arithmetic of the script's rows, 256 positions "
        "each through body and head and a full square of attention, over F_min with the beginning that all rows of an "
        f"update share counted once). Peak matmul rate in the same rounds, one thread: {spread(rate, 0)} GFLOP/s."
    )  # fmt: skip
    return found


def _peers(measured: Measured) -> str:
    """Postil against each layout of TRL."""
    said = []
    for clock, threads in THREADS.items():
        ratios = [f"{side} / Postil shared {spread(measured.ratio('Postil shared', clock, over=side))}"
                  for side in measured.rounds if side.startswith("TRL")]  # fmt: skip
        said.append(f"{clock} time, {threads} thread{'s' * (threads > 1)}: {', '.join(ratios)}.")
    return "Against TRL. " + " ".join(said)


def of(name: str, sides: list[str]) -> Callable[[int, bool, str], None]:
    """The benchmark of one shape."""

    def run(rounds: int, quick: bool, command: str) -> None:
        results.write(name, command, page(measure(SHAPES[name](), sides, rounds)))

    return run


def memory(rounds: int, quick: bool, command: str) -> None:
    """Peak memory above the weights, each side alone in a process."""
    shape, sides = SHAPES["titles"](), ["script (b)", "TRL unpadded", "Postil plain", "Postil shared", "Postil tight"]
    measured = measure(shape, sides, 1 if quick else max(2, rounds), clocks=("CPU",))
    rows = [(side, f"{measured.above(side):.0f}", f"{measured.above(side) / measured.above(AGAINST):.2f}",
             spread(measured.ratio(side, "CPU"))) for side in sides]  # fmt: skip
    text = results.table(("side", "peak above weights, MB", "of (b)", "(b)'s CPU time / it"), rows)
    results.write("memory", command, f"{shape.told()} *tight*: the preset `tight_memory` as far as it changes how an "
                  f"update is computed, with the same adapter and rows.\n\n{text}")  # fmt: skip
