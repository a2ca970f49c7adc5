"""Write errors.md, parameters.md, commands.md, routes.md, security.md and sbom.json beside this file.

They say what the program says. `python docs/make.py` writes them; a test compares what stands here with what would be.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from sbom import sbom

from postil.api.app import create_app
from postil.api.house import House
from postil.locales import say
from postil.plan import fields, presets
from postil.settings import for_child
from postil.store import Store
from postil.wording import allowed

HERE = Path(__file__).parent
COMMANDS = (
    (), ("quickstart",), ("check",), ("look",), ("diff",), ("xray",), ("models",), ("models", "list"),
    ("models", "pull"), ("models", "add"), ("plan",), ("train",), ("import-job",), ("compare",), ("evaluate",),
    ("answer",), ("export",), ("parity",), ("golden",), ("doctor",), ("studio",),
    ("serve",), ("keys",), ("keys", "list"), ("keys", "add"), ("keys", "rotate"), ("keys", "revoke"), ("audit",),
)  # fmt: skip
ATTACKS = (
    "weights that are programs", "configurations that run code", "chat templates that break out",
    "chat templates that never end, or come with a request", "broken safetensors", "file names that are paths",
    "ids and keys that are paths", "links, devices and archives", "hostile workbooks", "hostile text and JSON",
    "formulas in exported sheets", "markup in texts", "requests forged by another site",
    "DNS rebinding and foreign origins", "missing, wrong and revoked keys", "another project's objects",
    "secrets in logs, tables and answers", "addresses to fetch", "broken, slow and smuggled HTTP",
    "patterns that backtrack", "requests for too much", "schemas and grammars", "poisoned data", "supply chain",
    "random bytes and JSON at every route", "texts that forge a turn", "pages beyond a key's scopes",
    "limits passed by hanging up, in parallel or by a restart", "guessing at the door, sessions that do not end",
    "a neighbour who fills every place", "damaged adapters against the engine",
    "keys over plain http and to foreign hosts", "data at rest, and paths in answers",
)  # fmt: skip
FAULTS = (
    "a worker killed at random moments", "a worker killed at every sync of a checkpoint",
    "power loss at every recorded write, sync and rename", "what is renamed is synced before and named for good after",
    "the server killed while a job runs", "server and worker killed together", "a server asked to end",
    "many servers and watchers at one queue", "a frozen worker that wakes up later", "clocks that jump",
    "a full disk", "a disk that fails, too many open files", "out of memory", "damaged checkpoints",
    "training file, base model or adapter changed on the disk", "a database killed, damaged, read-only or away",
    "connections cut in streams and uploads", "jobs that crash each time, and processes that do not end",
    "any order of actions and deaths", "killed during a migration; checkpoints of another version",
    "servers of one host name: in containers, on machines that are copies of each other",
    "a server frozen, cut off or without its database, that comes back", "a database with another's directory",
    "a healthy worker that cannot say so: before its first beat, while libraries load", "a fault of ours in the loop",
)  # fmt: skip
ACCEPTANCE = (
    "objects pass strict validation", "pages hold each job once", "three resets, one job", "a retry is recognised",
    "Idempotency-Key", "every refusal is an error object", "refusals are not sent again", "file names",
    "waiting for a file", "uploads in parts", "from a job to an answer", "cancel in every state", "pause and resume",
    "deprecated hyperparameters, {} and null", "jobs by metadata", "a slash in a model's name", "streams",
    "what is not implemented is named", "other clients", "upstream's own tests",
)  # fmt: skip
LANGUAGES = ("en", "zh")
SERVED = {"en": "On the pages and over HTTP:", "zh": "在网页上和接口里："}
MADE = "<!-- written by docs/make.py; change the sentences in postil/locales/ instead -->"


def pages() -> dict[str, str]:
    """The name of each page and its text."""
    made = {"errors.md": errors(), "parameters.md": parameters(), "commands.md": commands(), "routes.md": routes(),
            "security.md": security()}  # fmt: skip
    return {**{name: "\n".join(lines).rstrip() + "\n" for name, lines in made.items()}, "sbom.json": sbom()}


def errors() -> Iterator[str]:
    """Every error code with what happened and what to do; words in braces are filled in."""
    yield from ("# Errors · 错误", "", MADE, "")
    yield "The code stands in brackets below each error message. Words in braces are filled in when it is shown."
    yield "错误代码写在每条错误信息下面的括号里；花括号里的词会换成实际内容。"
    sentences = json.loads((Path(__file__).parents[1] / "postil" / "locales" / "en.json").read_text("utf-8"))
    for key in sorted(sentences):
        if not (key.startswith("error.") and key.endswith(".cause")):
            continue
        code = key.split(".")[1]
        yield from ("", f"## {code}", "")
        for lang in LANGUAGES:
            cause, remedy = _raw(f"error.{code}.cause", lang), _raw(f"error.{code}.remedy", lang)
            elsewhere = f"served.error.{code}.remedy"
            served = f" {SERVED[lang]} **{_raw(elsewhere, lang)}**" if elsewhere in sentences else ""
            yield f"- {' '.join(cause.split())} **{remedy}**{served}"


def parameters() -> Iterator[str]:
    """Every field of the plan in both languages."""
    yield from ("# Parameters · 参数", "", MADE, "")
    yield "Each is decided by itself, with a reason, and can be set: `postil train ... --set name=value`."
    yield "每个参数都会自动决定并说明理由，也可以自己指定：`postil train ... --set 参数名=值`。"
    for english, chinese in zip(fields("en"), fields("zh"), strict=True):
        default = "-" if english.default is None else str(english.default)
        yield from ("", f"## {english.name}", "")
        yield f"`{default}` · {_cell(allowed(english))}"
        yield ""
        yield f"- {english.label}: {english.help}"
        yield f"- {chinese.label}：{chinese.help}"
    yield from ("", "## Presets · 预设", "", "`--preset NAME`", "")
    for name in presets():
        yield f"- `{name}`: {say(f'preset.{name}', 'en')} · {say(f'preset.{name}', 'zh')}"


def commands() -> Iterator[str]:
    """The help of every command, as it is printed."""
    yield from ("# Commands · 命令", "", MADE, "")
    yield "Exit codes: 0 done, 1 refused or failed (with a code: [errors](errors.md)), 2 wrong usage, 130 interrupted"
    yield "by Ctrl-C, 143 by a request to end (SIGTERM). An interrupted training saves its state; it is not done."
    yield "退出码：0 完成，1 拒绝或失败（带[错误](errors.md)代码），2 用法不对，130 被 Ctrl-C 中断，"
    yield "143 被要求结束（SIGTERM）。训练被中断时会存好进度，但还没有做完。"
    texts = {lang: _helps(lang) for lang in LANGUAGES}
    for i, command in enumerate(COMMANDS):
        yield from ("", f"## postil {' '.join(command)}".rstrip())
        for lang in LANGUAGES:
            yield from ("", "```text", texts[lang][i], "```")


def routes() -> Iterator[str]:
    """Every route of the server with what it does, and what `x_postil` takes."""
    with TemporaryDirectory() as directory:
        app = create_app(
            House(Store(Path(directory)), **dict.fromkeys(("queue", "open_engine", "judge", "ask"))), tuple
        )
        document = app.openapi()
    yield from ("# Routes · 接口", "", "<!-- written by docs/make.py from the routes in postil/api/ -->", "")
    yield "What each takes and gives: `/openapi.json`. How they are used: [api.md](api.md)."
    yield "各接口的输入输出见 `/openapi.json`，用法见 [api.md](api.md)。"
    tags = [(operation["tags"][0], method.upper(), path, operation["description"])
            for path, item in document["paths"].items() for method, operation in item.items()]  # fmt: skip
    for tag in dict.fromkeys(tag for tag, *_ in tags):
        yield from ("", f"## {tag}", "", "| | | |", "|---|---|---|")
        yield from (f"| {method} | `{path}` | {_first(what)} |" for one, method, path, what in tags if one == tag)
    own = document["components"]["schemas"]["XPostil"]["properties"]
    said = {field.name for field in fields("en")}
    yield from ("", "## x_postil", "", "Parameters · 参数:", "")
    yield ", ".join(f"[`{name}`](parameters.md#{name})" for name in sorted(own) if name in said) + "."
    yield from ("", "Besides · 另有:", "")
    yield ", ".join(f"`{name}`" for name in sorted(own) if name not in said and "anyOf" in own[name]) + "."


def _first(text: str) -> str:
    """The first paragraph of a description, in one line."""
    return " ".join(text.partition("\n\n")[0].split())


def security() -> Iterator[str]:
    """How many tests stand behind each attack, each fault, and each point of what OpenAI's clients rely on, by name."""
    yield from ("# Security and compatibility · 安全与兼容", "", MADE, "")
    yield "Test functions are counted by their names; most try many inputs. 0 means: no test of that name yet."
    yield "按测试函数的名字计数，多数函数会试很多种输入。0 表示还没有这个名字的测试。"
    attacks = ("Attacks · 攻击", ATTACKS, "tests", r"test_attack_((?:\d\d_)+)")
    faults = ("Faults · 故障", FAULTS, "tests", r"test_fault_((?:\d\d_)+)")
    clients = ("OpenAI's clients · OpenAI 客户端", ACCEPTANCE, "tests/api", r"test_((?:\d\d_)+)")
    for title, table, place, pattern in (attacks, faults, clients):
        found = Counter(
            int(number)
            for path in sorted((HERE.parent / place).rglob("test_*.py"))
            for match in re.finditer(rf"^(?:async )?def {pattern}", path.read_text("utf-8"), re.MULTILINE)
            for number in match[1].strip("_").split("_")  # a test may stand for several: test_fault_05_06_...
        )
        yield from ("", f"## {title}", "", "| | what | tests |", "|---|---|---|")
        for number, what in enumerate(table, 1):
            yield f"| {number} | {what} | {found[number]} |"
    yield from upstream()


def upstream() -> Iterator[str]:
    """How upstream's own tests fare against our server, and why some end otherwise: a test holds these numbers."""
    told = json.loads((HERE.parent / "tests" / "api" / "upstream.json").read_text("utf-8"))
    yield from ("", "## Upstream's own tests · 官方客户端自带的测试", "")
    yield f"`tests/api_resources/`: {', '.join(told['files'])}. Skipped: {told['skipped']}."
    yield from ("", "| openai | passed | exceptions | skipped |", "|---|---|---|---|")
    for version, counts in told["counts"].items():
        yield f"| {version} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |"
    yield from ("", "Exceptions · 例外", "")
    for exception in told["exceptions"]:
        yield f"- {exception['en']} · {exception['zh']} ({len(exception['tests'])} functions)"


def _helps(lang: str) -> list[str]:
    """What --help prints for each command, from a process that speaks `lang`: help is read once, at the start."""
    environment = {**for_child(), "COLUMNS": "88", "NO_COLOR": "1", "PYTHONUTF8": "1"}
    code = (
        "import json, sys; from postil.__main__ import main\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    main([*command, '--lang', sys.argv[2], '--help']); print('\\0')"
    )
    arguments = [sys.executable, "-c", code, json.dumps(COMMANDS), lang]
    done = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8", env=environment, check=True)
    lines = ("\n".join(line.rstrip() for line in text.splitlines()) for text in done.stdout.split("\0"))
    return [text.strip() for text in lines][: len(COMMANDS)]


def _raw(key: str, lang: str) -> str:
    """A sentence with its braces."""
    path = Path(__file__).parents[1] / "postil" / "locales" / f"{lang}.json"
    return str(json.loads(path.read_text("utf-8"))[key])


def _cell(text: str) -> str:
    return text if text == "-" else f"`{text}`"


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{HERE / name}\n")
