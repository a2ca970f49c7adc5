"""How long until something happens: `postil --help`, and the first forward pass of a run whose plan is fixed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.bases import embedded
from benchmarks.results import spread
from benchmarks.side import ROOT
from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample
from postil.settings import for_child

IMPORTS = "import torch, transformers"
LOAD = """
import json, sys, time
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True)
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, local_files_only=True)
print(json.dumps({"at": time.time(), "cpu": time.process_time()}), flush=True)
"""
# The whole command line, up to the first forward pass. torch is loaded first so as to hang a hook into it.
FIRST_FORWARD = """
import json, os, sys, time
from postil.settings import quiet
quiet()
import torch
def told(*_):
    print(json.dumps({"at": time.time(), "cpu": time.process_time()}), flush=True)
    os._exit(0)
torch.nn.modules.module.register_module_forward_pre_hook(told)
from postil.__main__ import main
code = main(sys.argv[1:])
sys.exit(code or 3)
"""


def run(rounds: int, quick: bool, command: str) -> None:
    """Both, each side in turn."""
    text = f"{_help(rounds)}\n\n{_first_forward(rounds)}"
    results.write("startup", command, text)


def python() -> str:
    """The interpreter that people run Postil with: not the benchmark's own, which looks into more directories."""
    folder = "Scripts" if sys.platform == "win32" else "bin"
    own = ROOT / ".venv" / folder / Path(sys.executable).name
    return str(own) if own.exists() else sys.executable


def _timed(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([python(), *arguments], env=for_child(), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _help(rounds: int) -> str:
    program = Path(python()).with_name("postil")
    arguments = [str(program)] if program.exists() and sys.platform != "win32" else ["-m", "postil"]
    helps, imports = [], []
    for _ in range(rounds + 1):
        helps.append(_timed(*arguments, "--help"))
        imports.append(_timed("-c", IMPORTS))
    ratios = [a / b for a, b in zip(imports[1:], helps[1:], strict=True)]
    row = (spread(helps[1:]), spread(imports[1:]), spread(ratios, 1))
    return results.table(("`postil --help`, wall s", "`import torch, transformers`, wall s", "ratio"), [row])


def _until(code: str, *arguments: str) -> dict[str, float]:
    """Wall and CPU seconds from the start of a process to the line that it prints."""
    started = time.time()
    done = subprocess.run([python(), "-c", code, *arguments], env=for_child(), cwd=ROOT, capture_output=True,
                          text=True, encoding="utf-8")  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"at"')]
    if not lines:
        raise SystemExit(f"no forward pass within `{' '.join(arguments)}`:\n{done.stdout}{done.stderr}")
    told = json.loads(lines[-1])
    return {"wall": told["at"] - started, "cpu": told["cpu"]}


def _first_forward(rounds: int) -> str:
    sides: dict[str, list[dict[str, float]]] = {"load": [], "postil": []}
    tokenising = _tokenising()
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        plan.write_text(json.dumps(_plan()), "utf-8")
        arguments = ["train", str(sample("titles")), "--output", str(Path(folder) / "run"), "--force",
                     "--plan", str(plan), "--system", TITLES_SYSTEM, "--instruction", TITLES_INSTRUCTION]  # fmt: skip
        for _ in range(rounds + 1):
            sides["load"].append(_until(LOAD, str(embedded())))
            sides["postil"].append(_until(FIRST_FORWARD, *arguments))
    rows = []
    for clock in ("cpu", "wall"):
        load, own = ([one[clock] for one in sides[name][1:]] for name in ("load", "postil"))
        ratios = [(b - tokenising) / a for a, b in zip(load, own, strict=True)]
        name = f"{clock.replace('cpu', 'CPU')} s"
        rows.append((name, spread(load), f"{tokenising:.2f}", spread(own), spread(ratios)))
    header = ("", "imports and weights, without Postil", "tokenising", "`postil train --plan`: first forward",
              "(first forward - tokenising) / (imports and weights)")  # fmt: skip
    return results.table(header, rows)


def _plan() -> dict[str, Any]:
    """The plan of `postil quickstart` for the sample, as a run writes it."""
    from benchmarks.sooner import own_plan

    return {"plan": own_plan(42).model_dump()}


def _tokenising() -> float:
    """CPU seconds for all examples of the sheet."""
    from benchmarks.shapes import sample_titles
    from postil.model.load import load_template

    template, examples = load_template(embedded()), sample_titles().examples
    template.sequences(examples[0])
    started = time.process_time()
    for example in examples:
        template.sequences(example)
    return time.process_time() - started
