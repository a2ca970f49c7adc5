"""A file becomes checked examples: read, understand, mend, check, split."""

from postil.dataset.clean import ask
from postil.dataset.load import load
from postil.dataset.questions import Questions, has_column, questions
from postil.dataset.scored import write_scores
from postil.dataset.split import split
from postil.dataset.votesheet import VoteSheet, read_votes, write_votes
from postil.dataset.workbook import read_answers, write_answers, write_beside, write_report
from postil.dataset.write import require_enough, write_jsonl

__all__ = [
    "Questions", "VoteSheet", "ask", "has_column", "load", "questions", "read_answers", "read_votes",
    "require_enough", "split", "write_answers", "write_beside", "write_jsonl", "write_report", "write_scores",
    "write_votes",
]  # fmt: skip
