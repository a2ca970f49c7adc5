"""The whole story on a tiny model: a sheet, a plan, an adapter, a proof, answers."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import openpyxl
import peft
import pytest
import torch
import transformers

from postil import flow
from postil.errors import DataError, ModelError, TrainError
from postil.flow import Reading
from postil.records import Event
from tests.story import INSTRUCTION, SHORT, SYSTEM, Trained, sheet

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")
WISHES = dict(pair.split("=") for pair in SHORT)
READING = Reading(system=SYSTEM, instruction=INSTRUCTION)


@pytest.fixture(scope="module", params=["qwen2", "gemma3", "untemplated"])
def story(request: pytest.FixtureRequest, base: Build, measured: None, tmp_path_factory: Any) -> dict[str, Any]:
    """check → plan → train, from Python."""
    home = tmp_path_factory.mktemp("story")
    file, events = sheet(home / "a.csv", 40), list[Event]()
    dataset = flow.check(file, READING)
    prepared = flow.plan(dataset, flow.find_base(str(base(request.param))), settings=WISHES)
    result = flow.train(prepared, home / "out", events.append)
    return {"prepared": prepared, "result": result, "events": events, "out": home / "out", "file": file}


def test_the_plan_has_a_reason_for_everything(story: dict[str, Any]) -> None:
    proposal = story["prepared"].proposal
    assert set(proposal.reasons) == set(type(proposal.plan).model_fields)
    assert all(choice.why("zh") and choice.why("en") for choice in proposal.reasons.values())
    assert (proposal.plan.system, proposal.plan.instruction) == (SYSTEM, INSTRUCTION)


def test_no_row_stands_in_two_parts(story: dict[str, Any]) -> None:
    split = story["prepared"].split
    parts = [
        {row for example in part for row in example.rows} for part in (split.training, split.validation, split.test)
    ]
    assert all(parts) and sum(map(len, parts)) == len(set().union(*parts)) == 40


def test_something_was_learned_and_told(story: dict[str, Any]) -> None:
    loss = story["result"]["validation_loss"]
    assert loss["tuned"] < loss["base"]
    types = [event.type for event in story["events"]]
    assert {"stage", "metrics", "checkpoint", "done"} <= set(types) and types[-1] == "done"
    percents = [event.data["percent"] for event in story["events"] if "percent" in event.data]
    assert percents == sorted(percents) and percents[-1] == 100


def test_few_test_rows_allow_no_verdict(story: dict[str, Any]) -> None:
    verdict = story["result"]["verdict"]
    assert verdict["n"] < 20 and verdict["outcome"] == "too_few"


def test_plain_peft_gives_the_same_tokens(story: dict[str, Any]) -> None:
    """Over the base that the adapter names, with the tokenizer beside it and no line of ours."""
    out, base = story["out"], story["prepared"].base
    named = peft.PeftConfig.from_pretrained(str(out))
    model = transformers.AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, str(out)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(out))
    comparison = flow.Comparison(out)
    assert named.peft_type == "LORA"
    for title in ("3 新款 夏季 夏季 tea cup 女", "100 新款 dress 女", "nothing like it"):
        ours = comparison.ask(title, tuned=True)
        ids = _as_anyone_would_ask(tokenizer, title)
        if ids is None:  # without a template there is no common way to ask
            ids = list(comparison._pair._loaded.template.prompt(comparison._messages(title)))
        with torch.inference_mode():
            whole = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :].tolist()
        text = tokenizer.decode(whole, skip_special_tokens=True)
        assert text.rstrip("\ufffd \n") == ours.text.rstrip("\ufffd \n")  # half a character may be held back
        assert len(whole) - ours.tokens in (0, 1)  # the end token is counted by one of them only


def _as_anyone_would_ask(tokenizer: Any, title: str) -> list[int] | None:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{INSTRUCTION}{title}"}]
    if not tokenizer.chat_template:
        return None
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"])


def test_off_is_the_untouched_base(story: dict[str, Any]) -> None:
    comparison = flow.Comparison(story["out"])
    model = transformers.AutoModelForCausalLM.from_pretrained(story["prepared"].base.path, dtype=torch.float32).eval()
    ids = torch.tensor([list(comparison._pair._loaded.template.prompt(comparison._messages("5 新款 女")))])
    with torch.inference_mode():
        tuned = comparison._pair._loaded.model
        with tuned.disable_adapter():
            assert torch.equal(tuned(ids).logits, model(ids).logits)
        assert not torch.equal(tuned(ids).logits, model(ids).logits)


def test_the_instruction_is_used_again_by_every_later_verb(trained: Trained, tmp_path: Path, monkeypatch: Any) -> None:
    """What was said before each question in training is said again in comparing, evaluating and answering."""
    from postil.model.chat import ChatPair as Pair

    asked: list[Any] = []
    answers, stream = Pair.answers, Pair.stream

    def heard(self: Any, questions: Any, **named: Any) -> Any:
        asked.extend(questions)
        return answers(self, questions, **named)

    def heard_one(self: Any, question: Any, *rest: Any, **named: Any) -> Any:
        asked.append(question)
        return stream(self, question, *rest, **named)

    monkeypatch.setattr(Pair, "answers", heard)
    monkeypatch.setattr(Pair, "stream", heard_one)
    flow.Comparison(trained.directory).ask("7 新款 dress 女", tuned=True)
    flow.evaluate(trained.directory, sheet(tmp_path / "b.csv", 12, start=7))
    flow.answer(trained.directory, sheet(tmp_path / "c.csv", 12, start=7), tmp_path / "out.xlsx")
    first = [
        question
        for question in asked
        if "7 新款 夏季" in question[-1].content or "7 新款 dress" in question[-1].content
    ]
    assert len(first) >= 3
    for question in asked:
        assert [message.role for message in question] == ["system", "user"]
        assert question[0].content == SYSTEM and question[1].content.startswith(INSTRUCTION)


def test_twenty_test_rows_allow_a_verdict(trained: Trained, tmp_path: Path) -> None:
    few = flow.evaluate(trained.directory, sheet(tmp_path / "few.csv", 19, start=300))
    enough = flow.evaluate(trained.directory, sheet(tmp_path / "enough.csv", 20, start=300))
    assert few.verdict.outcome == "too_few" and enough.verdict.outcome != "too_few"
    assert few.verdict.metric == enough.verdict.metric == trained.result["verdict"]["metric"]


def test_an_evaluation_tells_how_far_it_is_and_how_long_it_takes(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "time", SimpleNamespace(monotonic=itertools.count(0.0).__next__))  # a second a look
    told: list[Any] = []
    flow.evaluate(
        trained.directory, sheet(tmp_path / "b.csv", 20, start=300), emit=lambda event: told.append(event.data)
    )
    assert [part for part, _ in itertools.groupby(one["what"] for one in told)] == ["neutral", "base", "tuned"]
    percent = [one["percent"] for one in told]
    assert percent == sorted(percent) and percent[-1] == 100
    left = [one["seconds_left"] for one in told if one["percent"] >= 86]
    assert min(left) == left[-1] == 0 < max(left)


def test_evaluating_on_a_file_leaves_the_runs_own_proof_alone(trained: Trained, tmp_path: Path) -> None:
    before = (trained.directory / "evaluation.json").read_bytes()
    flow.evaluate(trained.directory, sheet(tmp_path / "b.csv", 12))
    assert (trained.directory / "evaluation.json").read_bytes() == before


def test_another_base_under_the_same_name_is_noticed(base: Build, trained: Trained, tmp_path: Path) -> None:
    home, run = shutil.copytree(trained.base, tmp_path / "base"), shutil.copytree(trained.directory, tmp_path / "run")
    told = json.loads((run / "plan.json").read_text("utf-8"))
    told["base"]["path"] = str(home)
    (run / "plan.json").write_text(json.dumps(told), "utf-8")
    assert flow.Comparison(run).ask("x", tuned=True).tokens
    weights = home / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    for use in (lambda: flow.Comparison(run), lambda: flow.evaluate(run), lambda: flow.resume(run, print)):
        with pytest.raises(ModelError) as refused:
            use()
        assert refused.value.code == "base_changed"
    shutil.rmtree(home)
    with pytest.raises(ModelError) as refused:
        flow.Comparison(run)
    assert refused.value.code in ("base_missing", "no_directory", "unknown_base")


def test_a_changed_test_part_is_noticed(trained: Trained, tmp_path: Path) -> None:
    run = shutil.copytree(trained.directory, tmp_path / "run")
    test = run / "data" / "test.jsonl"
    test.write_text(test.read_text("utf-8").replace("新款", "旧款"), "utf-8")
    with pytest.raises(TrainError) as refused:
        flow.evaluate(run)
    assert refused.value.code == "data_changed"


def test_a_run_without_a_test_part_has_no_verdict_until_it_is_asked_for(base: Build, tmp_path: Path) -> None:
    dataset = flow.check(sheet(tmp_path / "a.csv", 20))
    prepared = flow.plan(
        dataset, flow.find_base(str(base("llama3"))), settings={**WISHES, "test_rows": "0", "n_epochs": "1"}
    )
    result = flow.train(prepared, tmp_path / "out", lambda event: None)
    assert "verdict" not in result and not (tmp_path / "out" / "evaluation.json").exists()
    with pytest.raises(DataError) as refused:
        flow.evaluate(tmp_path / "out")
    assert refused.value.code == "nothing_to_evaluate"
    assert flow.evaluate(tmp_path / "out", sheet(tmp_path / "b.csv", 20, start=50)).verdict.n == 20


def test_a_system_prompt_may_be_a_column(tmp_path: Path) -> None:
    rows = "".join(f"你是店{i}号,问题 {i},答案 {i * 7}\n" for i in range(12))
    (tmp_path / "a.csv").write_text(f"设定,提问,回答\n{rows}", "utf-8")
    dataset = flow.check(tmp_path / "a.csv", Reading(system="设定"))
    assert dataset.system is None and dataset.examples[3].messages[0].content == "你是店3号"
    dataset = flow.check(
        tmp_path / "a.csv", Reading(columns={"question": "提问", "answer": "回答"}, system="请有礼貌。")
    )
    assert dataset.system == "请有礼貌。"


def test_the_plan_remembers_how_much_was_put_right(base: Build, tmp_path: Path) -> None:
    reading = Reading(edits={"B2": "长裙"}, without=[3, 4])
    dataset = flow.check(sheet(tmp_path / "a.csv", 30), reading)
    prepared = flow.plan(dataset, flow.find_base(str(base("llama3"))), settings=WISHES, measure=False)
    flow.lay_out(prepared, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "plan.json").read_text("utf-8"))["data"]["check"]
    assert (told["edited"], told["left_out"], told["examples"]) == (1, 2, 28)
    learned = "".join((tmp_path / "out" / "data" / f"{part}.jsonl").read_text("utf-8")
                      for part in ("training", "validation", "test"))  # fmt: skip
    assert "长裙" in learned and len(learned.splitlines()) == 28
    assert reading.of_another_file() == Reading()


def test_dialogues_learn_every_answer_and_go_the_whole_way(base: Build, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["会话编号", "角色", "内容"])
    for i in range(14):
        for role, text in (("客户", f"订单 {i} 到哪了"), ("客服", f"已发货 {i}"), ("客户", "谢谢"), ("客服", "不客气")):
            book.worksheets[0].append([f"c{i}", role, text])
    book.save(tmp_path / "a.xlsx")
    dataset = flow.check(tmp_path / "a.xlsx")
    assert len(dataset.examples) == 14 and len(dataset.examples[0].messages) == 4
    prepared = flow.plan(dataset, flow.find_base(str(base("qwen3"))), settings={**WISHES, "n_epochs": "1"})
    assert prepared.proposal.plan.kind == "chat"
    assert flow.train(prepared, tmp_path / "out", lambda event: None)["verdict"]["outcome"] == "too_few"


def test_training_rows_and_presets_bound_what_is_learned(base: Build, tmp_path: Path) -> None:
    dataset, model = flow.check(sheet(tmp_path / "a.csv", 300)), flow.find_base(str(base("llama3")))
    quick = flow.plan(dataset, model, preset="quick_try").split
    assert (len(quick.training), len(quick.validation), len(quick.test)) == (200, 30, 50)
    assert len(flow.plan(dataset, model, settings={"training_rows": "37"}).split.training) == 37


def test_the_doctor_finds_an_adapter_without_effect(trained: Trained, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    out = tmp_path / "zero"
    shutil.copytree(trained.directory, out)
    weights = out / "adapter_model.safetensors"
    save_file({name: torch.zeros_like(one) for name, one in load_file(weights).items()}, weights)
    flow.evaluate(out)
    found = {finding.code: finding for finding in flow.diagnose(out)}
    assert found["adapter_not_applied"].severity == "error" and "nothing_learned" not in found
    assert "adapter_not_applied" not in {finding.code for finding in flow.diagnose(trained.directory)}


def test_scores_stand_in_the_user_s_own_workbook(trained: Trained, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [["标题", "产品词"], *(line.split(",") for line in trained.sheet.read_text("utf-8").split("\n")[1:6])]:
        book.worksheets[0].append(row)
    book.save(tmp_path / "own.xlsx")
    found = flow.evaluate(trained.directory, tmp_path / "own.xlsx")
    flow.write_scores(tmp_path / "out.xlsx", found, path=tmp_path / "own.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").worksheets[0]
    assert sheet.max_row == 6 and sheet.max_column == 6 and sheet["B3"].value == book.worksheets[0]["B3"].value
    by_row = {row["rows"][0]: row for row in found.rows}
    for row, one in by_row.items():
        assert [sheet.cell(row, 5).value, sheet.cell(row, 6).value] == [
            round(one[name], 4) for name in ("base_score", "tuned_score")
        ]
