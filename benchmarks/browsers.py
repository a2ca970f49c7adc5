"""People at browsers while a server is measured: pages that stay open and show what happens, and are loaded anew."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
RELOAD_SECONDS = 60.0  # as somebody does who comes back to a page
PATIENCE_MS = 120_000


async def look(link: str, paths: Sequence[str], end: float, faults: list[str]) -> int:
    """Open each path in a browser window of its own until `end` (monotonic); how often pages were opened.

    link: signs in. Whatever a page could not show goes into `faults`.
    """
    from playwright.async_api import async_playwright

    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        raise SystemExit("Chromium is not installed")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        counts = await asyncio.gather(*[_person(browser, link, path, end, faults) for path in paths])
        await browser.close()
    return sum(counts)


async def _person(browser: Any, link: str, path: str, end: float, faults: list[str]) -> int:
    context = await browser.new_context(locale="zh-CN")
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    page.on("pageerror", lambda error: faults.append(f"{path}: {error}"))
    await page.goto(link)
    opened = 0
    while time.monotonic() < end:
        await page.goto(link.partition("/login")[0] + path)
        await page.wait_for_selector("[aria-level='1']")
        opened += 1
        await asyncio.sleep(max(0.0, min(RELOAD_SECONDS, end - time.monotonic())))
        if await page.locator("#popup").is_visible():  # the connection was lost
            faults.append(f"{path}: not connected")
    await context.close()
    return opened
