"""A file becomes checked examples: read, understand, mend, check, split."""

from postil.dataset.actions import with_actions
from postil.dataset.clean import ask
from postil.dataset.compare import Difference, diff
from postil.dataset.corrections import read_reading
from postil.dataset.fixes import applied, fix_all
from postil.dataset.foreign import require_data
from postil.dataset.kept import keep_findings, keep_table, window
from postil.dataset.load import load
from postil.dataset.questions import Questions, has_column, questions
from postil.dataset.raw import Raw
from postil.dataset.read import read
from postil.dataset.scored import write_scores
from postil.dataset.split import apart, split, with_every_label
from postil.dataset.tagged import for_task, looks_tagged
from postil.dataset.votesheet import VoteSheet, read_votes, write_votes
from postil.dataset.workbook import read_answers, read_doubtful, write_answers, write_beside, write_report
from postil.dataset.write import require_enough, write_jsonl

__all__ = [
    "Difference",
    "Questions",
    "Raw",
    "VoteSheet",
    "apart",
    "applied",
    "ask",
    "diff",
    "fix_all",
    "for_task",
    "has_column",
    "keep_findings",
    "keep_table",
    "load",
    "looks_tagged",
    "questions",
    "read",
    "read_answers",
    "read_doubtful",
    "read_reading",
    "read_votes",
    "require_data",
    "require_enough",
    "split",
    "window",
    "with_actions",
    "with_every_label",
    "write_answers",
    "write_beside",
    "write_jsonl",
    "write_report",
    "write_scores",
    "write_votes",
]
