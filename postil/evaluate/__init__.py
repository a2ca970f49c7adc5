"""Base and tuned answer the same questions: metrics, a verdict in words, neutral texts, a report."""

from postil.evaluate.answers import evaluate, read_evaluation, readiness_of
from postil.evaluate.blind import CHOICES, Tally, order, revealed, shown_rows, sides, tally, tally_of
from postil.evaluate.case import Case, read_case
from postil.evaluate.diagnose import diagnose
from postil.evaluate.endpoint import EndpointJudge
from postil.evaluate.judge import Brief, InMemoryJudge, Judge, Judgement, LocalJudge, default_brief, judged
from postil.evaluate.metrics import METRICS, NUMBERS, score, summary, visible
from postil.evaluate.neutral import neutral_texts
from postil.evaluate.readiness import readiness, repeats
from postil.evaluate.report import Facts, Run, write_report
from postil.evaluate.verdict import FEWEST_ROWS, FORGETTING_LIMIT, forgets, forgetting_words, preference, verdict

__all__ = [
    "CHOICES",
    "FEWEST_ROWS",
    "FORGETTING_LIMIT",
    "METRICS",
    "NUMBERS",
    "Brief",
    "Case",
    "EndpointJudge",
    "Facts",
    "InMemoryJudge",
    "Judge",
    "Judgement",
    "LocalJudge",
    "Run",
    "Tally",
    "default_brief",
    "diagnose",
    "evaluate",
    "forgets",
    "forgetting_words",
    "judged",
    "neutral_texts",
    "order",
    "preference",
    "read_case",
    "read_evaluation",
    "readiness",
    "readiness_of",
    "repeats",
    "revealed",
    "score",
    "shown_rows",
    "sides",
    "summary",
    "tally",
    "tally_of",
    "verdict",
    "visible",
    "write_report",
]
