"""A judge is asked both ways round, believed only when it says the same, and never asked twice for one thing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from postil.errors import DataError, EngineError, PlanError
from postil.evaluate import Brief, InMemoryJudge, LocalJudge, default_brief, judged
from postil.records import Kind

ROWS = [{"question": f"问题 {i}", "reference": f"参考 {i}", "base": f"旧 {i}", "tuned": f"新 {i}"} for i in range(24)]
BRIEF = Brief("{criteria}|{question}|{reference}|A={a}|B={b}", "正确")


def parts(prompt: str) -> tuple[str, str]:
    found = re.search(r"\|A=(.*)\|B=(.*)", prompt)
    assert found
    return found[1], found[2]


def likes_new(prompt: str) -> str:
    a, _ = parts(prompt)
    new = a.startswith("新")
    marks = {"a": 9 if new else 4, "b": 4 if new else 9}
    return json.dumps({**marks, "verdict": "A" if new else "B", "reason": "新的更准"}, ensure_ascii=False)


def test_both_orders_are_asked_and_agree() -> None:
    judge = InMemoryJudge(likes_new)
    told = judged(ROWS, judge, BRIEF)
    assert len(judge.asked) == 48
    assert {parts(prompt) for prompt in judge.asked[:2]} == {("旧 0", "新 0"), ("新 0", "旧 0")}
    assert (told.preference.won, told.preference.lost, told.preference.tied) == (24, 0, 0)
    assert (told.agreement, told.first_share, told.unclear) == (1.0, 0.5, 0)
    assert (told.base_mark, told.tuned_mark) == (4.0, 9.0)
    assert told.rows[3].looks == ("tuned", "tuned") and told.rows[3].reason == "新的更准"
    assert told.preference.outcome == "better" and "100" in told.words("zh") and "100" in told.words("en")
    assert json.loads(json.dumps(told.as_json()))["rows"][0]["side"] == "tuned"


def test_a_judge_that_likes_whoever_comes_first_decides_nothing_and_is_doubted() -> None:
    told = judged(ROWS, InMemoryJudge(lambda prompt: "Verdict: A"), BRIEF)
    assert (told.preference.won, told.preference.lost, told.preference.tied) == (0, 0, 24)
    assert (told.agreement, told.first_share) == (0.0, 1.0)
    assert "weak" in told.words("en") and "不太胜任" in told.words("zh")


def test_what_is_not_understood_counts_for_nothing() -> None:
    def mumbles(prompt: str) -> str:
        return "hm" if "问题 1" in prompt else likes_new(prompt)  # rows 1 and 10 - 19

    told = judged(ROWS, InMemoryJudge(mumbles), BRIEF)
    assert (told.unclear, told.preference.n, told.preference.won) == (11, 13, 13)
    assert told.rows[1].side is None and told.rows[1].agreed is None and told.preference.outcome == "too_few"
    half = judged(ROWS, InMemoryJudge(lambda p: "hm" if parts(p)[0].startswith("旧") else "A"), BRIEF)
    assert half.unclear == 24 and half.agreement is None


def test_equal_answers_are_the_same_and_need_no_judge() -> None:
    rows = [{**row, "tuned": f"<think>嗯</think>{row['base']}"} for row in ROWS[:4]] + ROWS[4:6]
    judge = InMemoryJudge(likes_new)
    told = judged(rows, judge, BRIEF)
    assert len(judge.asked) == 4 and (told.preference.won, told.preference.tied) == (2, 4)
    assert told.agreement == 1.0 and "think" not in "".join(judge.asked)


def test_a_run_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    notes, count = tmp_path / "judged.jsonl", [0]

    def breaks(prompt: str) -> str:
        count[0] += 1
        if count[0] > 15:
            raise EngineError("engine_closed")
        return likes_new(prompt)

    with pytest.raises(EngineError):
        judged(ROWS, InMemoryJudge(breaks), BRIEF, notes)
    with notes.open("a", encoding="utf-8") as file:
        file.write('{"row": 7, "tur')  # killed while it wrote
    heard: list[tuple[int, int]] = []
    again = InMemoryJudge(likes_new)
    told = judged(ROWS, again, BRIEF, notes, lambda done, of: heard.append((done, of)))
    assert len(again.asked) == 48 - 15 and heard[0] == (15, 48) and heard[-1] == (48, 48)
    assert told.preference.won == 24
    once_more = InMemoryJudge(likes_new)
    assert judged(ROWS, once_more, BRIEF, notes).preference.won == 24 and not once_more.asked
    other = InMemoryJudge(likes_new)
    judged(ROWS, other, Brief(BRIEF.prompt, "友好"), notes)
    assert len(other.asked) == 48, "other criteria are another judgement"


def test_several_at_once_say_the_same() -> None:
    one, four = (judged(ROWS, InMemoryJudge(likes_new, at_once), BRIEF) for at_once in (1, 4))
    assert one == four


def test_answers_cannot_fill_slots_or_break_the_prompt() -> None:
    row = {"question": "{a}{b}{criteria}", "reference": "", "base": "{question} \\1 {x}", "tuned": "$& {b} {{}}"}
    judge = InMemoryJudge(lambda prompt: "A")
    judged([row], judge, BRIEF)
    assert judge.asked[0] == "正确|{a}{b}{criteria}|-|A={question} \\1 {x}|B=$& {b} {{}}"


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_data_has_a_brief_in_both_languages(kind: Kind, lang: str) -> None:
    brief = default_brief(kind, lang)
    text = brief.messages("Q?", "R!", "first", "second")[0].content
    assert brief.criteria in text and '{"reason"' in text and "Q?" in text and "second" in text
    own = default_brief(kind, lang, prompt="{question} {a} {b}", criteria=" mine ")
    assert own == Brief("{question} {a} {b}", "mine")


@pytest.mark.parametrize(("prompt", "code"), [
    ("{question} {a}", "judge_prompt_incomplete"), ("", "judge_prompt_incomplete"),
    ("{question}{a}{b}" + "x" * 20_000, "judge_prompt_too_long"),
])  # fmt: skip
def test_a_prompt_without_both_answers_is_refused(prompt: str, code: str) -> None:
    with pytest.raises(PlanError) as refused:
        Brief(prompt, "")
    assert refused.value.code == code


def test_nothing_to_judge() -> None:
    with pytest.raises(DataError) as refused:
        judged([], InMemoryJudge(likes_new), BRIEF)
    assert refused.value.code == "nothing_to_judge"


def test_the_engine_s_answer_is_the_judge_s() -> None:
    heard: list[Any] = []
    judge = LocalJudge("local:tiny", lambda messages: heard.append(messages) or "Verdict: B", at_once=2)
    told = judged(ROWS[:2], judge, BRIEF)
    assert told.judge == "local:tiny" and len(heard) == 4 and heard[0][0].role == "user"
