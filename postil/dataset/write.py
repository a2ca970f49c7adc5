"""The cleaned examples as JSONL, one {"messages": [...]} a line."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from postil.errors import DataError, FileError
from postil.records import Dataset

FEWEST = 10


def write_jsonl(dataset: Dataset, path: Path) -> None:
    """Write all examples to `path`; the file is there whole or not at all. Raises FileError."""
    path = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                for example in dataset.examples:
                    file.write(json.dumps(example.as_json(), ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, UnicodeEncodeError) as error:
        raise FileError("file_not_written", path=str(path), why=str(error)) from None


def require_enough(dataset: Dataset) -> None:
    """Raise DataError `too_few_examples` if there are fewer than 10 examples."""
    if len(dataset.examples) < FEWEST:
        rows = [left.row for left in dataset.dropped]
        raise DataError("too_few_examples", rows=rows, count=len(dataset.examples), least=FEWEST)
