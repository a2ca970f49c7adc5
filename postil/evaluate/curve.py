"""The loss curve as an SVG picture: training and validation loss over updates, the best checkpoint marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from postil.locales import say

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 48
_BUCKETS = 300  # a longer curve is drawn by the lowest and highest point of each bucket
_TRAINING, _VALIDATION, _BEST = "#8fb3d9", "#c2410c", "#15803d"

Point = tuple[float, float]  # update, loss


def draw(history: Sequence[Mapping[str, Any]], best_step: int | None = None, lang: str | None = None) -> str:
    """A complete SVG document. `history`: {"step", "loss", "validation_loss"}, where either loss may be missing.

    Losses that are no finite numbers are left out; with none at all the picture says so.
    """
    training, validation = _series(history, "loss"), _series(history, "validation_loss")
    points = training + validation
    title = escape(say("report.curve.title", lang))
    if not points:
        return _document(title, _text(_WIDTH / 2, _HEIGHT / 2, say("report.curve.empty", lang), "middle"))
    frame = _Frame(points)
    parts = [
        frame.axes(say("report.curve.updates", lang), say("report.curve.loss", lang)),
        _line(frame, training, _TRAINING, ""),
        _line(frame, validation, _VALIDATION, ' stroke-dasharray="7 3"'),
        _dots(frame, validation, _VALIDATION) if len(validation) <= 60 else "",
        _best(frame, validation, best_step, lang),
        _legend(bool(training), bool(validation), lang),
    ]
    return _document(title, "".join(parts))


def thinned(points: Sequence[Point], buckets: int = _BUCKETS) -> list[Point]:
    """At most 2 * `buckets` + 2 of the points: the ends, and the lowest and the highest of each bucket, in order."""
    if len(points) <= 2 * buckets:
        return list(points)
    size = len(points) / buckets
    kept = {0, len(points) - 1}
    for bucket in range(buckets):
        inside = range(int(bucket * size), int((bucket + 1) * size))
        kept.add(min(inside, key=lambda i: points[i][1]))
        kept.add(max(inside, key=lambda i: points[i][1]))
    return [points[i] for i in sorted(kept)]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between `low` and `high`."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _series(history: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    found = [(float(entry["step"]), float(entry[name])) for entry in history if entry.get(name) is not None]
    return sorted((point for point in found if math.isfinite(point[1])), key=lambda point: point[0])


class _Frame:
    """The drawing area and the scales of both axes."""

    def __init__(self, points: Sequence[Point]) -> None:
        steps, losses = [x for x, _ in points], [y for _, y in points]
        self.first, self.last = min(steps), max(steps)
        if self.first == self.last:
            self.first, self.last = self.first - 1, self.last + 1
        room = (max(losses) - min(losses)) * 0.06 or max(abs(losses[0]) * 0.1, 0.1)
        self.low, self.high = min(losses) - room, max(losses) + room

    def x(self, step: float) -> float:
        return _LEFT + (step - self.first) / (self.last - self.first) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, loss: float) -> float:
        return _TOP + (self.high - loss) / (self.high - self.low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, across: str, up: str) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = []
        for loss in ticks(self.low, self.high):
            y = self.y(loss)
            parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#e5e7eb"/>')
            parts.append(_text(_LEFT - 8, y + 4, f"{loss:.4g}", "end"))
        for step in ticks(self.first, self.last, 8):
            if step == int(step) and step >= 0:
                parts.append(_text(self.x(step), bottom + 18, f"{int(step):,}", "middle"))
        parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" stroke="#6b7280" fill="none"/>')
        parts.append(_text((_LEFT + right) / 2, _HEIGHT - 10, across, "middle"))
        middle = (_TOP + bottom) / 2
        parts.append(_text(16, middle, up, "middle", f' transform="rotate(-90 16 {middle:.0f})"'))
        return "".join(parts)


def _line(frame: _Frame, points: Sequence[Point], colour: str, dashes: str) -> str:
    if len(points) == 1:
        return _dots(frame, points, colour)
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in thinned(points))
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>' if path else ""


def _dots(frame: _Frame, points: Sequence[Point], colour: str) -> str:
    return "".join(f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points)


def _best(frame: _Frame, validation: Sequence[Point], best_step: int | None, lang: str | None) -> str:
    if best_step is None or not frame.first <= best_step <= frame.last:
        return ""
    x = frame.x(best_step)
    line = f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="{_BEST}" stroke-dasharray="3 3"/>'
    rings = "".join(
        f'<circle cx="{x:.1f}" cy="{frame.y(loss):.1f}" r="6" fill="none" stroke="{_BEST}" stroke-width="2"/>'
        for step, loss in validation
        if step == best_step
    )
    side, shift = ("end", -6) if x > _WIDTH * 0.75 else ("start", 6)
    words = say("report.curve.best", lang, step=best_step)
    return line + rings + _text(x + shift, _TOP + 12, words, side, f' fill="{_BEST}"')


def _legend(training: bool, validation: bool, lang: str | None) -> str:
    shown = [("report.curve.training", _TRAINING, "")] if training else []
    shown += [("report.curve.validation", _VALIDATION, ' stroke-dasharray="7 3"')] if validation else []
    parts = []
    for place, (key, colour, dashes) in enumerate(shown):
        x = _LEFT + place * 190
        parts.append(f'<path d="M{x} 16h26" stroke="{colour}" stroke-width="3"{dashes}/>')
        parts.append(_text(x + 32, 20, say(key, lang), "start"))
    return "".join(parts)


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    fill = "" if " fill=" in more else ' fill="#374151"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}{more}>{escape(words)}</text>'


def _document(title: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{title}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>{body}</svg>\n'
    )
