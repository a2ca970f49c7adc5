"""A file becomes checked examples: read, understand, mend, check, split."""

from postil.dataset.clean import ask
from postil.dataset.load import load
from postil.dataset.questions import Questions, has_column, questions
from postil.dataset.split import split
from postil.dataset.workbook import read_answers, write_answers, write_report
from postil.dataset.write import require_enough, write_jsonl

__all__ = [
    "Questions", "ask", "has_column", "load", "questions", "read_answers", "require_enough", "split",
    "write_answers", "write_jsonl", "write_report",
]  # fmt: skip
