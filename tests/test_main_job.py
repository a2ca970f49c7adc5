"""The main job on the real demonstration model: what quickstart does, with fewer rows. Minutes on two quiet cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from postil import flow
from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample
from postil.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
READING = flow.Reading(system=TITLES_SYSTEM, instruction=TITLES_INSTRUCTION)
WISHES = {"training_rows": "96", "n_epochs": "2", "validation_rows": "12", "test_rows": "24", "minutes": "0"}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base = flow.fetched(flow.find_base(flow.EMBEDDED))
    prepared = flow.plan(flow.check(sample("titles"), READING), base, preset="quick_try", settings=WISHES)
    output = tmp_path_factory.mktemp("job") / "adapter"
    return {"base": base, "output": output, "prepared": prepared,
            "result": flow.train(prepared, output, lambda event: None)}  # fmt: skip


def test_the_labels_of_the_sample_are_right() -> None:
    found = flow.xray(sample("titles"), flow.EMBEDDED, READING)
    assert found["examples"] == found["end_token_learned"] > 250
    assert found["cut"] == found["all_masked"] == 0 and not [row for row in found["rows"] if row["faults"]]


def test_it_is_clearly_better_on_titles_that_it_never_saw(job: dict[str, Any]) -> None:
    verdict, loss = job["result"]["verdict"], job["result"]["validation_loss"]
    assert (verdict["outcome"], verdict["metric"], verdict["n"]) == ("better", "exact_match", 24)
    assert verdict["difference"] >= 0.15 and verdict["interval"][0] > 0
    assert loss["tuned"] < 0.5 * loss["base"]


def test_the_estimate_was_of_the_right_order(job: dict[str, Any]) -> None:
    """On a machine that others share, no more can be asked."""
    low, high = job["prepared"].proposal.estimate.seconds
    took = job["result"]["seconds"] + job["result"]["evaluation_seconds"]
    assert low / 4 < took < high * 4
    assert job["result"]["peak_rss_bytes"] < 2 * job["prepared"].proposal.estimate.memory_bytes


def test_plain_peft_gives_the_same_tokens(job: dict[str, Any]) -> None:
    import peft
    import torch
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(job["base"].path, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, str(job["output"])).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(job["output"]))
    comparison = flow.Comparison(job["output"])
    for example in job["prepared"].split.test[:5]:
        messages = [message.as_json() for message in example.question]
        told = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            ids = model.generate(**told, max_new_tokens=job["prepared"].proposal.plan.max_new_tokens, do_sample=False)
        text = tokenizer.decode(ids[0, told["input_ids"].shape[1] :], skip_special_tokens=True)
        title = example.question[-1].content.removeprefix(TITLES_INSTRUCTION).strip()
        assert comparison.ask(title, tuned=True).text.strip() == text.strip()


def test_the_report_shows_the_curve_and_the_verdict(job: dict[str, Any]) -> None:
    page = (job["output"] / "report.html").read_text("utf-8")
    assert "<svg" in page or "data:image" in page
    assert "exact" in page or "完全一致" in page or "精确" in page
    assert Path(job["output"], "report.md").stat().st_size > 1000


def test_nothing_was_written_outside_the_directory_and_the_home(job: dict[str, Any]) -> None:
    assert job["base"].path.is_relative_to(Settings().home)
