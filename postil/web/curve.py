"""The loss curves of a run, as a chart that stays quick with any number of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from postil.web.desk import Desk
from postil.web.frame import labelled, text

MOST = 1200  # points that are drawn of a curve
INK = "#8a8178"  # read on light and on dark paper

Point = tuple[int, float | None, float | None]  # step, training loss, validation loss


class Curve:
    """Training and validation loss by step. Points may come in any order and twice."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._training: dict[int, float] = {}
        self._validation: dict[int, float] = {}
        self._words = text("", "small soft")
        self._chart = labelled(ui.echart(_options(desk)).style("height: 18rem"), desk.say("web.job.curve"))

    def add(self, points: Sequence[Point]) -> None:
        if not points:
            return
        for step, training, validation in points:
            if training is not None:
                self._training[step] = training
            if validation is not None:
                self._validation[step] = validation
        self._training, self._validation = trim(self._training), trim(self._validation)
        for series, numbers in zip(self._chart.options["series"], (self._training, self._validation), strict=True):
            series["data"] = thinned(sorted(numbers.items()), MOST)
            series["showSymbol"] = len(numbers) < 60
        self._chart.update()
        if self._validation:
            best = min(self._validation, key=lambda step: self._validation[step])
            self._words.text = self._desk.say("web.job.curve.best", step=best, loss=f"{self._validation[best]:.3f}")


def trim(numbers: dict[int, float]) -> dict[int, float]:
    """What a page keeps of a curve, however long it stays open: more than is drawn, and the lowest and highest."""
    if len(numbers) <= 8 * MOST:
        return numbers
    return {int(step): number for step, number in thinned(sorted(numbers.items()), 4 * MOST)}


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[list[float]]:
    """At most `most` points of a curve: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= most:
        return [[step, value] for step, value in points]
    stretches = max(1, (most - 2) // 2)
    inner = points[1:-1]
    kept: list[tuple[int, float]] = [points[0]]
    for i in range(stretches):
        part = inner[i * len(inner) // stretches : (i + 1) * len(inner) // stretches]
        if part:
            low, high = min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])
            kept += sorted({low, high})
    return [[step, value] for step, value in [*kept, points[-1]]]


def _options(desk: Desk) -> dict[str, Any]:
    names = [desk.say("web.job.curve.training"), desk.say("web.job.curve.validation")]
    letters, lines = {"color": INK}, {"color": "#8883"}
    return {
        "animation": False,
        "grid": {"left": 52, "right": 16, "top": 36, "bottom": 36},
        "legend": {"data": names, "top": 0, "textStyle": letters},
        "tooltip": {"trigger": "axis"},
        "color": [INK, "#d1493f"],
        "xAxis": {
            "type": "value",
            "minInterval": 1,
            "name": desk.say("web.job.step"),
            "nameLocation": "middle",
            "nameGap": 24,
            "splitLine": {"show": False},
            "axisLabel": letters,
            "nameTextStyle": letters,
        },
        "yAxis": {"type": "value", "scale": True, "axisLabel": letters, "splitLine": {"lineStyle": lines}},
        "series": [
            {"type": "line", "name": name, "data": [], "lineStyle": {"width": 2}, "sampling": "lttb"} for name in names
        ],
    }
