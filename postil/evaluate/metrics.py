"""Scores of an answer against its reference, row by row and over all rows. Higher is better, except for loss.

All of them look at what a reader sees: `visible` takes thinking blocks out of reference and answer alike.
exact_match, field_match, char_f1, rouge_l, bleu and stopped are fractions from 0 to 1; loss is in nats per token of the
reference; length is in characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from postil.errors import DataError
from postil.model.fields import field_match
from postil.records import Answer

METRICS = ("exact_match", "field_match", "char_f1", "rouge_l", "bleu", "loss", "stopped", "length")
NUMBERS = {"loss": 3, "length": 1, "perplexity": 2, "reward_margin": 3}  # shown with so many digits; others in percent

_LAST_MARKS = "。.!?"  # after NFKC, which turns ！ and ？ into ! and ?

# Scripts written without spaces: Han, kana, hangul, and those of South-East Asia. Their punctuation is left out.
_SINGLE = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30fa\u30fc-\u30ff\u3100-\u312f\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_TOKEN = re.compile(rf"[{_SINGLE}]|\d+(?:[.,:]\d+)+%?|\d+%|(?:(?![{_SINGLE}_])\w|[\u0300-\u036f])+|[^\w\s]")


def visible(text: str) -> str:
    """`text` without its thinking: `<think>…</think>` blocks, and what stands before a lone `</think>` (some templates
    open the block in the prompt) or after a lone `<think>` (the answer was cut before the thinking ended)."""
    kept, at = [], 0
    while (begin := text.find("<think>", at)) >= 0 and (end := text.find("</think>", begin)) >= 0:
        kept.append(text[at:begin])
        at = end + len("</think>")
    shown = "".join([*kept, text[at:]]).rpartition("</think>")[2]
    return shown.partition("<think>")[0].strip()


def tokens(text: str) -> list[str]:
    """Characters of scripts without spaces (Chinese, ...), lower-cased words of the others, numbers whole ("3.5%").

    Symbols are kept ("+", "￥"), punctuation and spaces are not.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    return [token for token in _TOKEN.findall(plain) if not unicodedata.category(token[0]).startswith("P")]


def exact_match(reference: str, answer: str) -> float:
    """1.0 if both are the same text after NFKC (full-width forms are the same as half-width ones), outer trim, and
    one space for each run of spaces. Case and punctuation count, but not sentence marks (。. ! ?) at the very end."""
    return float(_normal(reference) == _normal(answer))


def char_f1(reference: str, answer: str) -> float:
    """F1 of the two bags of `tokens`: how much of the reference is there, and how much of the answer belongs."""
    wanted, given = Counter(tokens(reference)), Counter(tokens(answer))
    if not wanted or not given:
        return exact_match(reference, answer)
    return 2 * (wanted & given).total() / (wanted.total() + given.total())


def rouge_l(reference: str, answer: str) -> float:
    """F-measure of the longest common subsequence of the two lists of `tokens` (rouge-score)."""
    if not tokens(reference) or not tokens(answer):
        return exact_match(reference, answer)
    return float(_rouge().score(reference, answer)["rougeL"].fmeasure)


def score(
    references: Sequence[str], answers: Sequence[Answer], losses: Sequence[float] | None = None
) -> dict[str, list[float]]:
    """Each metric's list of scores, one for each row; without `loss` when no losses are given.

    Raises DataError `scores_unpaired` when the lists differ in length.
    """
    _paired(references, answers, losses)
    pairs = [(visible(wanted), visible(given.text)) for wanted, given in zip(references, answers, strict=True)]
    bleu = _bleu([wanted for wanted, _ in pairs])
    scores = {
        "exact_match": [exact_match(*pair) for pair in pairs],
        "field_match": [field_match(*pair) for pair in pairs],
        "char_f1": [char_f1(*pair) for pair in pairs],
        "rouge_l": [rouge_l(*pair) for pair in pairs],
        "bleu": [_sentence_bleu(bleu, *pair) for pair in pairs],
        "stopped": [float(answer.stopped) for answer in answers],
        "length": [float(len(given)) for _, given in pairs],
    }
    if losses is not None:
        scores["loss"] = [float(loss) for loss in losses]
    return scores


def summary(
    references: Sequence[str],
    answers: Sequence[Answer],
    losses: Sequence[float] | None = None,
    scores: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, float]:
    """Each metric over all rows: the mean of the rows, but BLEU of the whole corpus. Empty when there are no rows.

    `scores`: what `score` gave for the same arguments, if it is at hand.
    """
    rows = score(references, answers, losses) if scores is None else scores
    if not references:
        return {}
    means = {name: fmean(rows[name]) for name in METRICS if name in rows}
    wanted = [visible(reference) for reference in references]
    given = [visible(answer.text) for answer in answers]
    means["bleu"] = _bleu(wanted).corpus_score(given, [wanted]).score / 100
    return means


def _normal(text: str) -> str:
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    return plain.rstrip(_LAST_MARKS).rstrip() or plain


def _paired(references: Sequence[str], answers: Sequence[Answer], losses: Sequence[float] | None) -> None:
    if len(references) != len(answers):
        raise DataError("scores_unpaired", left=len(references), right=len(answers))
    if losses is not None and len(losses) != len(references):
        raise DataError("scores_unpaired", left=len(references), right=len(losses))


def _mostly_chinese(texts: Sequence[str]) -> bool:
    found = [re.match(f"[{_SINGLE}]", token) is not None for text in texts for token in tokens(text)]
    return sum(found) * 2 > len(found)


def _bleu(references: Sequence[str]) -> Any:
    """sacrebleu's BLEU with the zh tokenizer when most tokens of the references are Chinese, else 13a.

    Effective order: answers of two or three characters have no 4-grams, and would else all score 0.
    """
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="zh" if _mostly_chinese(references) else "13a", effective_order=True)


def _sentence_bleu(bleu: Any, reference: str, answer: str) -> float:
    if not reference or not answer:
        return exact_match(reference, answer)
    return min(1.0, float(bleu.sentence_score(answer, [reference]).score) / 100)


class _Tokenizer:
    """`tokens` in the form that rouge-score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return tokens(text)


def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Tokenizer())
