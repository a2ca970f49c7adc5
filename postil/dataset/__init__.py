"""A file becomes checked examples: read, understand, mend, check, split."""

from postil.dataset.clean import ask
from postil.dataset.load import load, understand
from postil.dataset.split import split
from postil.dataset.write import require_enough, write_jsonl

__all__ = ["ask", "load", "require_enough", "split", "understand", "write_jsonl"]
