"""What a page says of a result: first whether it can be used."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from postil.locales import say
from postil.store.models import judged
from postil.web.result import judged_words, of_model
from tests.web.lived import RESULT


@pytest.mark.parametrize(("lang", "words"), [("en", "Not usable yet: of 25"), ("zh", "还不能用：25 道测试题里有 3 道")])
def test_the_level_comes_first_in_the_persons_language_and_a_model_says_the_same_later(lang: str, words: str) -> None:
    desk: Any = SimpleNamespace(lang=lang, say=lambda key, **values: say(key, lang, **values))
    (tone, first), (_, verdict), (calm, _) = judged_words(desk, RESULT)
    assert tone == "bad" and first.startswith(words) and "18" in first and "25" in verdict and calm == "info"
    kept = judged(RESULT)
    assert kept is not None and judged_words(desk, of_model(kept)) == judged_words(desk, RESULT)
    assert [tone for tone, _ in judged_words(desk, {**RESULT, "forgetting": 0.3})] == ["bad", "good", "warn"]


def test_a_result_of_before_has_no_level() -> None:
    desk: Any = SimpleNamespace(lang="en", say=lambda key, **values: say(key, "en", **values))
    assert len(judged_words(desk, {"verdict": RESULT["verdict"]})) == 1
