"""Small workbooks to try Postil with, and the texts of the task that the first one is made for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

# The titles' task: what the model is told before each title. The instruction ends where the title begins.
TITLES_SYSTEM = (
    "You are a professional e-commerce title analyst. You read one long product title and reply with ONLY the name "
    "of the core product (1-5 words), and nothing else."
)
TITLES_INSTRUCTION = "请从下面的商品标题中找出最核心的商品主体，只输出主体名称，不要添加其它文字："


def sample(name: Literal["titles", "service", "intents", "entities"]) -> Path:
    """The path of a sample workbook: "titles" (title to product noun), "service" (dialogues of a service desk),
    "intents" (what customers write, with one of five labels) or "entities" (titles with what is marked in them)."""
    return Path(__file__).with_name(f"{name}.xlsx")
