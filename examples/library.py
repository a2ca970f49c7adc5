"""From a sheet to a tuned model and an honest before/after, in Python.

python examples/library.py SHEET OUTPUT [MODEL]     MODEL: a name (see `postil models list`) or a directory
"""

from __future__ import annotations

import sys
from pathlib import Path

from postil import PostilError, Reading, flow


def main(sheet: Path, output: Path, model: str) -> None:
    dataset = flow.check(sheet, Reading(instruction="Name the product in this title:"))
    print(f"{dataset.used} of {dataset.rows} rows are used")
    for issue in dataset.issues[:5]:
        print(f"  row {issue.row}: {issue.message()} {issue.fix()}")

    prepared = flow.plan(dataset, flow.fetched(flow.find_base(model)), settings={"n_epochs": "2"})
    print("learning rate:", prepared.proposal.reasons["learning_rate"].why())

    result = flow.train(prepared, output, emit=lambda event: None)
    print(f"{result['updates']} updates in {result['seconds']} s")
    if "verdict" in result:
        print(result["verdict"]["words"])

    comparison = flow.Comparison(output)
    question = "2025 new summer floral dress, loose fit"
    print("base: ", comparison.ask(question, tuned=False).text)
    print("tuned:", comparison.ask(question, tuned=True).text)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else flow.EMBEDDED)
    except PostilError as error:
        sys.exit(str(error))
