import math

import pytest

from postil.errors import DataError
from postil.evaluate import score, summary, visible
from postil.evaluate.metrics import METRICS, char_f1, exact_match, rouge_l, tokens
from postil.records import Answer


def said(*texts: str, stopped: bool = True) -> list[Answer]:
    return [Answer(text, len(text), stopped) for text in texts]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>它是零食</think>肉松", "肉松"),
        ("<think>a</think>one<think>b\nc</think> two ", "one two"),
        ("the template opened it</think>\n\n肉松", "肉松"),
        ("肉松<think>cut before the end", "肉松"),
        ("<think>never ends", ""),
        ("a < b and b > c", "a < b and b > c"),
    ],
)
def test_visible_takes_thinking_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("肉松", " 肉松\n", True),
        ("肉松", "肉松。", True),
        ("退款吗?", "退款吗？", True),
        ("ＡＢＣ１２３", "ABC123", True),
        ("two  words", "two\u3000words", True),
        ("肉松", "肉松饼", False),
        ("A,B", "AB", False),
        ("3.5", "35", False),
        ("Tea", "tea", False),
        ("?", "!", False),
        ("", "肉松", False),
        ("", "", True),
    ],
)
def test_exact_match(reference: str, answer: str, same: bool) -> None:
    assert exact_match(reference, answer) == float(same)


def test_tokens_are_characters_in_chinese_and_words_elsewhere() -> None:
    assert tokens("纯棉T恤，Size XL：3.5折！") == ["纯", "棉", "t", "恤", "size", "xl", "3.5", "折"]
    assert tokens("1,299 元起，省50%+") == ["1,299", "元", "起", "省", "50%", "+"]
    assert tokens("Don't　STOP") == ["don", "t", "stop"]
    assert tokens("。！?…") == []


def test_char_f1_by_hand() -> None:
    assert char_f1("肉松饼干", "肉松") == pytest.approx(2 * 2 / (4 + 2))
    assert char_f1("the red cup", "The cup") == pytest.approx(2 * 2 / (3 + 2))
    assert char_f1("哈哈", "哈哈哈哈") == pytest.approx(2 * 2 / (2 + 4))
    assert char_f1("肉松", "") == 0.0
    assert char_f1("", "") == 1.0


def test_rouge_l_sees_order_and_chinese() -> None:
    assert rouge_l("甲乙丙丁", "甲乙丙丁") == 1.0
    assert rouge_l("甲乙丙丁", "丁丙乙甲") == pytest.approx(0.25)
    assert rouge_l("the red cup", "red cup") == pytest.approx(0.8)
    assert rouge_l("甲", "") == 0.0


def test_score_gives_each_metric_for_each_row() -> None:
    references = ["肉松", "保温杯", "<think>x</think>牙刷"]
    answers = said("肉松", "杯子", "<think>y</think>牙刷")
    scores = score(references, answers, [0.5, 2.0, 0.25])
    assert set(scores) == set(METRICS)
    assert scores["exact_match"] == [1.0, 0.0, 1.0]
    assert scores["bleu"][0] == pytest.approx(1.0)
    assert scores["bleu"][1] < 0.7
    assert scores["length"] == [2.0, 2.0, 2.0]
    assert scores["loss"] == [0.5, 2.0, 0.25]
    assert all(0 <= value <= 1 for name in ("char_f1", "rouge_l", "bleu") for value in scores[name])


def test_summary_means_and_corpus_bleu() -> None:
    references = ["请在三天内寄回商品，我们会尽快为您退款", "the parcel will arrive within three days"]
    right = said(*references)
    assert summary(references, right)["bleu"] == pytest.approx(1.0)
    means = summary(references, said(references[0], "no idea", stopped=False), [1.0, 3.0])
    assert means["exact_match"] == 0.5
    assert means["loss"] == 2.0
    assert means["stopped"] == 0.0
    assert 0 < means["bleu"] < 1
    assert "loss" not in summary(references, right)


def test_chinese_bleu_is_of_characters() -> None:
    """With 13a a Chinese sentence is one word, and any slip would give zero."""
    reference = "请您在收到商品后七天之内申请退货"
    assert score([reference], said("请您在收到商品后七天内申请退货"))["bleu"][0] > 0.6


def test_short_answers_can_reach_full_bleu() -> None:
    assert summary(["肉松", "茶"], said("肉松", "茶"))["bleu"] == pytest.approx(1.0)


def test_empty_answers_and_odd_characters_score_without_trouble() -> None:
    references = ["肉松", "", "\U0001f600", "。", "\ud7ffx"]
    scores = score(references, said("", "", "\U0001f600", "！", "\u0000"))
    assert all(math.isfinite(value) for values in scores.values() for value in values)
    assert scores["char_f1"][:3] == [0.0, 1.0, 1.0]
    assert scores["bleu"][:2] == [0.0, 1.0]


def test_no_rows_have_no_summary() -> None:
    assert summary([], []) == {}


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(DataError) as raised:
        score(["a", "b"], said("a"))
    assert raised.value.code == "scores_unpaired"
    with pytest.raises(DataError):
        score(["a"], said("a"), [0.1, 0.2])
