"""Pictures of every page, made with the real program: `make screenshots` writes them to out/screenshots.

python docs/pictures.py [--readme] [--only PAGE ...]

--readme also renews those of docs/pictures, which the READMEs show; --only leaves all other pages out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from postil import flow  # noqa: E402
from postil.settings import Settings, quiet  # noqa: E402
from postil.store import read_json  # noqa: E402
from postil.web.result import asked  # noqa: E402
from tests.web.studio import Studio, Visitor, chromium, running  # noqa: E402

OUT = ROOT / "out" / "screenshots"
README = {"data", "plan", "job", "compare"}
WIDTHS = {"wide": 1440, "narrow": 375}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="PAGE", help="compare, job, ...")
    given = parser.parse_args()
    quiet()
    flow.fetched(flow.find_base(flow.EMBEDDED))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as data, running(Settings().home, Path(data)) as studio, chromium() as browser:
        made = prepare(studio, browser)
        paths = {name: path for name, path in made.items() if not given.only or name in given.only}
        for lang in ("en", "zh"):
            for width_name, width in WIDTHS.items():
                for dark in (False, True):
                    visitor = Visitor(browser, studio, lang=lang, width=width, dark=dark)
                    for name, path in paths.items():
                        picture = OUT / f"{name}-{lang}-{width_name}-{'dark' if dark else 'light'}.png"
                        take(visitor, path, picture)
                        if given.readme and name in README and width_name == "wide" and not dark:
                            (ROOT / "docs" / "pictures").mkdir(exist_ok=True)
                            take(visitor, path, ROOT / "docs" / "pictures" / f"{name}-{lang}.png", whole=False)
                    visitor.close()
    sys.stdout.write(f"{len(list(OUT.iterdir()))} pictures in {OUT}\n")


def prepare(studio: Studio, browser: Any) -> dict[str, str]:
    """A sheet, a training to its end, a question: what the pages then have to show. Returns their paths."""
    visitor = Visitor(browser, studio, lang="zh")
    page = visitor.go("/new")
    page.set_default_timeout(600_000)
    page.get_by_role("button", name=re.compile("商品标题")).click()
    page.wait_for_url(re.compile("/studio/data/"))
    page.wait_for_selector("#rows td")
    data = page.url.partition("/studio")[2]
    plan = f"{data}/plan?preset=quick_try"
    page = visitor.go(plan)
    start = page.get_by_role("button", name="开始训练", exact=True)
    page.wait_for_function("button => !button.disabled", arg=start.element_handle())
    page.get_by_label(re.compile("模型名称")).fill("titles")
    start.click()
    page.wait_for_url(re.compile("/jobs/"))
    job = page.url.partition("/studio")[2]
    page.wait_for_selector(".chip.good", timeout=1_800_000)
    page.get_by_role("button", name=re.compile("使用模型")).click()
    page.wait_for_url(re.compile("/models/"))
    model = page.url.partition("/studio")[2]
    visitor.close()
    question = f"/compare?question={quote(held_out(studio.data))}"
    return {
        "home": "/", "new": "/new", "data": data, "plan": plan, "xray": f"{data}/xray", "versions": f"{data}/versions",
        "datasets": "/data", "jobs": "/jobs", "job": job, "compare": question, "models": "/models", "model": model,
        "evaluations": "/evaluations", "keys": "/keys", "audit": "/audit",
    }  # fmt: skip


def held_out(data: Path) -> str:
    """A question that no training saw, which the model answers rightly and its base does not."""
    (file,) = data.rglob("evaluation.json")
    question = next(row["question"] for row in read_json(file)["rows"] if row["tuned_score"] > row["base_score"])
    return asked(question, read_json(file.with_name("plan.json"))["plan"]["instruction"])


def take(visitor: Visitor, path: str, picture: Path, *, whole: bool = True) -> None:
    page = visitor.go(path)
    page.wait_for_timeout(1500)
    if "/data/" in path and not path.endswith("versions"):
        page.wait_for_selector("table tbody tr, .note", timeout=300_000)
    if path.startswith("/compare"):
        page.locator(".main-act").first.click()
        page.wait_for_selector("button:has-text('纠正'), button:has-text('Correct')", timeout=300_000)
    if re.fullmatch("/data/[^/]+", path):
        page.wait_for_selector(".gauge", timeout=300_000)
    page.evaluate("scrollTo(0, 0)")  # else the bar at the top covers what was pressed
    page.wait_for_timeout(500)
    page.screenshot(path=str(picture), full_page=whole)


if __name__ == "__main__":
    main()
