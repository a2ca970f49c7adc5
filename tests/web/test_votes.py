"""Whoever has the link votes by keys and by mouse, without having signed in, and reaches nothing else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from postil.store import LOCAL, Store
from tests.web.studio import Studio, window

ROWS = [
    {"row": i, "question": f"问题{i}", "reference": "答", "base": f"一{i}", "tuned": f"二{i}"} for i in range(3)
]  # fmt: skip


@pytest.mark.slow
def test_a_rater_votes_by_keys_and_by_mouse(studio: Studio, browser: Any) -> None:
    store = Store(studio.data)
    ballot = store.ballots.create(LOCAL, "售后", "哪个更好?", "evaljob-1", "ft:x", ROWS)
    rater, token = store.ballots.invite(LOCAL, ballot.id, "张三")
    page = window(browser, "zh").new_page()
    page.goto(f"{studio.url}/rate/{token}")
    for voted, act in enumerate((lambda: page.keyboard.press("1"), lambda: page.keyboard.press("4"),
                                 lambda: page.get_by_role("button", name="[3]").click())):  # fmt: skip
        page.get_by_text(f"已投 {voted} / 3").wait_for()
        act()
    page.get_by_text("谢谢").wait_for()
    assert sorted(vote.choice for vote in store.ballots.votes(ballot)[rater.id].values()) == ["a", "both_bad", "same"]
    store.close()
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    for path in ("/", "/models", "/jobs", f"/votes/{ballot.id}"):
        assert httpx.get(studio.url + path, cookies=cookies).status_code == 303, path
    page.context.close()
