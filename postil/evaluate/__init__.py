"""Base and tuned answer the same questions: metrics, a verdict in words, neutral texts, a report."""

from postil.evaluate.answers import evaluate, read_evaluation
from postil.evaluate.case import Case, read_case
from postil.evaluate.diagnose import diagnose
from postil.evaluate.metrics import METRICS, score, summary, visible
from postil.evaluate.neutral import neutral_texts
from postil.evaluate.report import Facts, Run, write_report
from postil.evaluate.verdict import FEWEST_ROWS, FORGETTING_LIMIT, forgets, forgetting_words, verdict

__all__ = [
    "FEWEST_ROWS",
    "FORGETTING_LIMIT",
    "METRICS",
    "Case",
    "Facts",
    "Run",
    "diagnose",
    "evaluate",
    "forgets",
    "forgetting_words",
    "neutral_texts",
    "read_case",
    "read_evaluation",
    "score",
    "summary",
    "verdict",
    "visible",
    "write_report",
]
