import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from postil.evaluate.curve import draw, thinned, ticks

SVG = "{http://www.w3.org/2000/svg}"


def history(n: int) -> list[dict[str, Any]]:
    return [{"step": i, "loss": 3 / math.sqrt(i), "validation_loss": 3.1 / math.sqrt(i)} for i in range(1, n + 1)]


def words(svg: str) -> str:
    return " ".join(text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text"))


@pytest.mark.parametrize("n", [1, 2, 3, 500, 100_000])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_any_length_gives_a_small_valid_picture_inside_its_frame(n: int, lang: str) -> None:
    svg = draw(history(n), n, lang)
    assert len(svg) < 60_000
    root = ElementTree.fromstring(svg)
    places = [pair.split(",") for line in root.iter(f"{SVG}polyline") for pair in line.attrib["points"].split()]
    places += [[dot.attrib["cx"], dot.attrib["cy"]] for dot in root.iter(f"{SVG}circle")]
    assert places
    assert all(0 <= float(x) <= 720 and 0 <= float(y) <= 300 for x, y in places)
    assert str(n) in words(svg)


def test_axes_legend_and_best_checkpoint_are_named() -> None:
    shown = words(draw(history(40), 25, "en"))
    for part in ("updates", "loss (lower is better)", "training", "validation", "best checkpoint (25)"):
        assert part in shown
    assert "最好的检查点（25）" in words(draw(history(40), 25, "zh"))


def test_losses_at_different_steps_and_gaps() -> None:
    mixed: list[dict[str, Any]] = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": None, "validation_loss": 1.9},
        {"step": 3, "loss": math.nan},
    ]
    svg = draw(mixed, None, "en")
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}circle"))) >= 2
    assert "nan" not in svg


@pytest.mark.parametrize("nothing", [[], [{"step": 1, "loss": math.inf}], [{"step": 1}]])
def test_no_losses_are_said_to_be_none(nothing: list[dict[str, float]]) -> None:
    assert "no losses" in words(draw(nothing, 1, "en"))


def test_equal_losses_and_a_best_step_from_elsewhere() -> None:
    ElementTree.fromstring(draw([{"step": i, "loss": 0.0} for i in range(5)], 99, "en"))


def test_thinning_keeps_the_ends_and_the_peaks() -> None:
    points = [(float(i), 1.0) for i in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    points[12_345] = (12_345.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= 602
    assert {points[0], points[-1], points[54_321], points[12_345]} <= set(kept)
    assert kept == sorted(kept)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0.93, 2.41) == pytest.approx([1.0, 1.5, 2.0])
    for low, high in ((1e-9, 2e-9), (-3.0, 7e6), (5.0, 5.01)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 7
        assert all(low - 1e-9 * abs(high) <= tick <= high * (1 + 1e-9) for tick in found)


def test_the_picture_asks_for_nothing_from_elsewhere() -> None:
    svg = draw(history(10), 5, "zh").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|href|<script|<image|url\(", svg)
