"""Whether answers can be used: what people can count, and whether answers belong to their questions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from postil.evaluate import readiness, readiness_of
from postil.evaluate.readiness import LEVELS, chance_of_fit, repeats
from postil.records import Answer, Readiness

NOUNS = ("dress", "lamp", "kettle", "scarf", "mug", "sofa", "ladder", "drill", "tent", "rug", "bowl", "chair")


def answered(texts: list[str], *, stopped: bool = True) -> list[Answer]:
    return [Answer(text, 3, stopped) for text in texts]


def level(kind: str, wanted: list[str], said: list[str]) -> Readiness:
    found = readiness(kind, wanted, answered(said))  # type: ignore[arg-type]
    assert found is not None
    return found


WANTED = [NOUNS[i % len(NOUNS)] for i in range(40)]


def test_all_right_is_ready_and_says_so_in_both_languages() -> None:
    found = level("extraction", WANTED, WANTED)
    assert (found.level, found.right, found.near, found.cut) == ("ready", 40, 0, 0)
    assert found.words("en") == "Ready to use: of 40 test questions 40 are answered right."
    assert "40 道测试题里答对 40 道" in found.words("zh")


@pytest.mark.parametrize(("n", "expected"), [(19, "try_out"), (20, "ready"), (24, "ready")])
def test_twenty_right_answers_of_twenty_are_enough(n: int, expected: str) -> None:
    assert level("extraction", WANTED[:n], WANTED[:n]).level == expected


def test_a_model_that_never_ends_is_not_usable_however_much_better_it_is() -> None:
    found = readiness("extraction", WANTED, answered(WANTED, stopped=False))
    assert found is not None and found.level == "not_yet" and found.cut == 40
    assert "40 not finished" in found.words("en")


@pytest.mark.parametrize(("wrong", "expected"), [(2, "ready"), (8, "try_out"), (30, "not_yet")])
def test_the_share_of_right_answers_decides(wrong: int, expected: str) -> None:
    said = ["nothing like it"] * wrong + WANTED[wrong:]
    assert level("extraction", WANTED, said).level == expected


def test_empty_and_repeated_answers_are_counted() -> None:
    said = ["", "no no no no no no no no", *WANTED[2:]]
    found = level("extraction", WANTED, said)
    assert (found.empty, found.repeated) == (1, 1)
    assert level("extraction", WANTED, ["" if i % 5 == 0 else text for i, text in enumerate(WANTED)]).level == "not_yet"


def test_few_questions_are_not_enough_to_be_ready_but_enough_to_see_that_nothing_works() -> None:
    assert level("extraction", WANTED[:5], WANTED[:5]).level == "try_out"
    assert level("extraction", WANTED[:2], ["x", "y"]).level == "try_out", "two say nothing"
    found = readiness("extraction", WANTED[:8], answered(["on and on"] * 8, stopped=False))
    assert found is not None and found.level == "not_yet"


def test_one_answer_to_everything_fits_no_question_even_where_it_is_mostly_right() -> None:
    wanted = ["praise"] * 36 + ["invoice", "refund", "praise", "return"]
    found = level("extraction", wanted, ["praise"] * 40)
    assert found.right == 37 and found.chance == 1.0 and found.fits is False
    assert found.level == "not_yet" and "belong to their questions" in found.words("en")


def test_a_null_model_is_never_called_usable_more_often_than_by_chance() -> None:
    """Answers of the right look, dealt to the wrong questions: the test says "fits" in 5 % of such worlds at most."""
    chance = random.Random(3)
    prices = [f"{plan} costs {price} chips a month. Warmly, the Foresters" for plan in NOUNS for price in (9, 19, 34)]
    levels = []
    for _ in range(200):
        wanted, said = chance.choices(prices, k=30), chance.choices(prices, k=30)
        levels.append(level("service_qa", wanted, said).level)
    assert levels.count("not_yet") >= 186, "two standard errors above 5 %"
    assert level("service_qa", prices, prices).level == "ready"


def test_where_only_a_reader_can_tell_nothing_is_called_ready() -> None:
    found = level("copywriting", WANTED, WANTED)
    assert found.level == "try_out" and found.right is None and "only a reader" in found.words("en")


def test_a_score_of_the_task_says_what_is_right() -> None:
    found = readiness("extraction", WANTED, answered(["other words"] * 40), [1.0] * 40)
    assert found is not None and found.right == 40


def test_the_chance_is_that_of_a_permutation_test() -> None:
    """Under exchangeable answers its distribution is uniform or above (ties)."""
    chance = random.Random(5)
    found = []
    for _ in range(200):
        said = list(WANTED[:24])
        chance.shuffle(said)
        found.append(chance_of_fit(WANTED[:24], said))
    assert sum(one is not None and one <= 0.05 for one in found) <= 17
    assert chance_of_fit(WANTED[:24], WANTED[:24]) == 1 / 2000
    assert chance_of_fit(WANTED[:19], WANTED[:19]) is None and chance_of_fit(["a"] * 30, ["a"] * 30) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("and so on and so on and so on and so on and so on", True),
        ("好的好的好的好的好的好的好的好的好的", True),
        ("The parcel is here. Thank you very much.", False),
        ("no no no no", False),
        ("A | B | C | D", False),
        ("-----------------------", True),
        ("    \n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", False),
    ],
)
def test_what_repeats(text: str, expected: bool) -> None:
    assert repeats(text) is expected


def test_a_reference_that_repeats_allows_its_answer_to() -> None:
    line = "+----+----+----+----+----+----+----+"
    assert level("service_qa", [line] * 2, [line] * 2).repeated == 0


def test_it_comes_back_from_its_json() -> None:
    found = level("extraction", WANTED, WANTED[::-1])
    assert readiness_of(json.loads(json.dumps(found.as_json()))) == found
    assert readiness("extraction", [], []) is None


def test_every_bound_has_its_reason_and_every_kind_its_line() -> None:
    import postil.evaluate
    from postil.plan import choose  # noqa: F401 - the room that names kinds

    table = json.loads((Path(postil.evaluate.__file__).parent / "readiness.json").read_text("utf-8"))
    lines = [*table["answers"].values(), *table["right"].values()]
    assert all(line["why"].endswith(".") for line in lines)
    assert set(table["right"]) == {"extraction", "service_qa", "chat", "consulting", "copywriting"}
    assert all(line["try_out"] < line["ready"] for line in lines if "try_out" in line)
    assert LEVELS == ("not_yet", "try_out", "ready")
