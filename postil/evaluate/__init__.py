"""Base and tuned answer the same questions: metrics, a verdict in words, neutral texts, a report."""

from postil.evaluate.metrics import score, summary, visible
from postil.evaluate.verdict import FEWEST_ROWS, FORGETTING_LIMIT, forgets, forgetting_words, verdict

__all__ = [
    "FEWEST_ROWS",
    "FORGETTING_LIMIT",
    "forgets",
    "forgetting_words",
    "score",
    "summary",
    "verdict",
    "visible",
]
