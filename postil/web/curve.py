"""The loss curves of a run, as a chart that stays quick with any number of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from postil.jobs import DRAWN, Losses, thinned
from postil.web.desk import Desk
from postil.web.frame import labelled, text

INK = "#8a8178"  # read on light and on dark paper

Point = tuple[int, float | None, float | None]  # step, training loss, validation loss


class Curve:
    """Training and validation loss by step."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._losses = desk, Losses()
        self._words = text("", "small soft")
        self._chart = labelled(ui.echart(_options(desk)).style("height: 18rem"), desk.say("web.job.curve"))

    def begin(self, losses: Losses) -> None:
        """Show what there is when a page is opened."""
        self._losses = losses
        self._show()

    def add(self, points: Sequence[Point]) -> None:
        """Show what came since then."""
        for point in points:
            self._losses.add(*point)
        if points:
            self._show()

    def _show(self) -> None:
        training, validation = self._losses.training, self._losses.validation
        for series, numbers in zip(self._chart.options["series"], (training, validation), strict=True):
            series["data"] = thinned(sorted(numbers.items()), DRAWN)
            series["showSymbol"] = len(numbers) < 60
        self._chart.update()
        if validation:
            best = min(validation, key=lambda step: validation[step])
            self._words.text = self._desk.say("web.job.curve.best", step=best, loss=f"{validation[best]:.3f}")


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
