"""Tokens guessed from characters, for when the base model, and so its tokenizer, is not on this machine yet."""

from __future__ import annotations

from collections.abc import Sequence

from postil.plan.kinds import chinese_share
from postil.records import Base, Counts, Example

PER_MESSAGE = 5  # role, start and end of a turn
PER_CHARACTER = 0.25  # of English
PER_CHINESE = 0.7  # where the tokenizer knows Chinese
PER_CHINESE_ELSE = 1.7  # where it spells Chinese in bytes


def rough_counts(training: Sequence[Example], base: Base, validation: int = 0, test: int = 0) -> Counts:
    """Counts of the training examples, `exact=False`; right within a third or so."""
    share = chinese_share(training)
    chinese = PER_CHINESE if "zh" in base.languages or not base.languages else PER_CHINESE_ELSE
    each = share * chinese + (1 - share) * PER_CHARACTER
    lengths = [sum(_tokens(m.content, each) for m in example.messages) for example in training]
    learned = [
        sum(_tokens(m.content, each) for m in example.messages if m.role == "assistant" and m.weight)
        for example in training
    ]
    answers = [_tokens(example.answer, each) for example in training]
    return Counts(
        n=len(training),
        tokens=sum(lengths),
        loss_tokens=sum(learned),
        longest=max(lengths, default=0),
        longest_answer=max(answers, default=0),
        mean_answer=sum(answers) / max(1, len(answers)),
        exact=False,
        validation=validation,
        test=test,
    )


def _tokens(text: str, each: float) -> int:
    return round(len(text) * each) + PER_MESSAGE
