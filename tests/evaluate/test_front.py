import subprocess
import sys

import postil.evaluate


def test_public_names() -> None:
    assert set(postil.evaluate.__all__) == {
        "CHOICES", "FEWEST_ROWS", "FORGETTING_LIMIT", "METRICS", "NUMBERS", "Brief", "Case", "EndpointJudge", "Facts",
        "InMemoryJudge", "Judge", "Judgement", "LocalJudge", "Run", "Tally", "default_brief", "diagnose",
        "evaluate", "forgets", "forgetting_words", "judged", "neutral_texts", "order", "preference", "read_case",
        "read_evaluation", "readiness", "readiness_of", "repeats", "revealed", "score", "shown_rows",
        "sides", "summary", "tally", "tally_of", "verdict", "visible", "write_report",
    }  # fmt: skip
    assert all(hasattr(postil.evaluate, name) for name in postil.evaluate.__all__)


def test_the_room_opens_without_heavy_libraries() -> None:
    heavy = ["torch", "numpy", "scipy", "sacrebleu", "nltk"]
    program = f"import sys, postil.evaluate; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
