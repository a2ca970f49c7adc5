"""Make the sample workbooks that Postil ships: python examples/make_samples.py [FOLDER].

titles.xlsx: product titles and the noun that names the product; service.xlsx: dialogues of a service desk;
intents.xlsx: what customers write, in two languages, and what they want, one of five labels; entities.xlsx: product
titles with their brand, product and size marked.

All are a little dirty on purpose, as real sheets are. Brands, rules and numbers are invented. The same words and the
same seed give the same bytes.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

SEED = 20260601
WORDS = Path(__file__).parent / "words"
SAMPLES = Path(__file__).parents[1] / "postil" / "samples"

# ── titles ────────────────────────────────────────────────────────────────────────────────────────

ROWS = 300
LENGTHS = range(15, 36)
LOUD = [
    "2026新款",
    "网红",
    "爆款",
    "热卖",
    "高颜值",
    "厂家直销",
    "旗舰店",
    "正品",
    "ins风",
    "抖音同款",
    "限时特价",
    "品质",
    "经典",
]
SEASONS = ["夏季", "秋冬", "春秋", "四季", "冬季", "夏天", "春季", "秋季"]
ORDERS = (
    "【{brand}】{season}{a}{b}{noun}{whom}{size}",
    "【{brand}】{a}{noun}{size}{second}{use}",
    "{brand}{a}{b}{noun}{use}{whom}{size}",
    "{brand}{noun}{a}{b}{whom}{use}{more}",
    "{season}{whom}{a}{b}{noun}{second}{more}",
    "{loud}{a}{noun}{b}{use}{second}{size}",
    "{whom}{use}{a}{noun}{b}{size}{more}",
    "{a}{b}{size}{second}{use}{noun}{more}",
    "{loud}{brand}{second}{a}{noun}{size}",
    "{use}{a}{b}{noun}{whom}{season}{more}{loud}",
    "{brand} {a}{b}{whom}{noun} {size} {more}",
    "{season}{loud}{use}{whom}{a}{b}{noun}",
    "【{more}】{brand}{a}{noun}{use}{b}{size}",
    "{noun}{a}{b}{season}{whom}{use}{loud}{size}",
    "【{brand}】{loud}{season}{a}{b}{noun}{whom}{second}{use}{size}{more}",
    "{loud}{season}{whom}{second}{a}{b}{noun}{use}{size}{more}",
    "{brand}{loud}{a}{whom}{noun}{b}{second}{size}{use}",
)


@dataclass(frozen=True)
class Product:
    noun: str
    looks: list[str]
    sizes: list[str]
    uses: list[str]
    seconds: list[str]
    brands: list[str]
    people: list[str]
    more: list[str]


def products() -> list[Product]:
    """The word list: a [category] line with brands, people and extras, then one product a line."""
    found: list[Product] = []
    category: list[list[str]] = []
    for line in (WORDS / "titles.txt").read_text("utf-8").splitlines():
        parts = [part.split() for part in line.partition("]")[2].split("|")] if line.startswith("[") else []
        if parts:
            category = parts
        elif line and not line.startswith("#"):
            noun, *lists = [part.split() for part in line.split("|")]
            found.append(Product(noun[0], *lists, *category))
    return found


def compose(product: Product, brand: str, random_: random.Random) -> str:
    """One title of this product: 15 to 35 characters, its noun once."""
    while True:
        a, b = random_.sample(product.looks, 2)
        title = random_.choice(ORDERS).format(
            brand=brand, season=random_.choice(SEASONS), loud=random_.choice(LOUD), a=a, b=b,
            noun=product.noun, whom=random_.choice(product.people), size=random_.choice(product.sizes),
            use=random_.choice(product.uses), second=random_.choice(product.seconds), more=random_.choice(product.more),
        )  # fmt: skip
        if len(title) in LENGTHS and title.count(product.noun) == 1:
            return title


def titles(random_: random.Random) -> list[tuple[str, str, str]]:
    """300 distinct (title, noun, shop): common products more often than rare ones."""
    all_products = products()
    wanted = [random_.randint(1, 6) for _ in all_products]
    chosen = all_products + random_.choices(all_products, wanted, k=ROWS - len(all_products))
    rows: dict[str, tuple[str, str, str]] = {}
    for product in chosen:
        brand = random_.choice(product.brands)
        title = compose(product, brand, random_)
        while title in rows:
            title = compose(product, brand, random_)
        rows[title] = (title, product.noun, brand + random_.choice(("旗舰店", "专营店")))
    shuffled = list(rows.values())
    random_.shuffle(shuffled)
    return shuffled


def dirtied(rows: list[tuple[str, str, str]]) -> list[tuple[str, str | None, str]]:
    """The same rows with what a real export has: blanks, an entity, an odd character, copies, a missing answer."""
    dirty: list[tuple[str, str | None, str]] = list(rows)
    title, noun, shop = rows[17]
    dirty[17] = (f"{title}  ", noun, shop)
    title, noun, shop = rows[58]
    dirty[58] = (title.replace(noun, f"&nbsp;{noun}"), noun, shop)
    at = next(i for i, row in enumerate(rows) if i > 60 and "防水" in row[0])
    dirty[at] = (rows[at][0].replace("防水", "防\N{KANGXI RADICAL WATER}"), *rows[at][1:])
    dirty.insert(95, rows[40])
    dirty.insert(211, ("【眠小舍】夏季可折叠冰丝学生宿舍床上用品三件套0.9m", None, "眠小舍旗舰店"))
    dirty.insert(260, rows[122])
    return dirty


def titles_book(random_: random.Random) -> Workbook:
    book, sheet = blank("标题")
    headed(sheet, "商品标题主体标注表（2026年上半年）", ("商品标题", "核心主体", "店铺", "上架日期"), (58, 14, 18, 13))
    for title, noun, shop in dirtied(titles(random_)):
        sheet.append((title, noun, shop, date(2026, 1, 4) + timedelta(days=random_.randrange(170))))
        sheet.cell(sheet.max_row, 4).number_format = "yyyy-mm-dd"
    sheet.append((f"合计 {ROWS} 条",))
    return book


# ── dialogues ─────────────────────────────────────────────────────────────────────────────────────

DIALOGUES = 120
Pair = tuple[str, str | None]  # what the customer says and what the desk answers
GREETINGS = ("", "", "", "", "你好，", "在吗，", "您好，请教一下，", "亲，", "急，")
OPENINGS = ("", "", "", "", "您好，", "您好！", "亲亲，", "好的，")
CLOSINGS = (
    ("好的，明白了", "不客气，有问题随时提单。"), ("谢谢", "应该的，祝您生意兴隆。"),
    ("行，那我再等等", "好的，有进展第一时间在工单里同步您。"), ("嗯嗯知道了", "好的，麻烦稍后给个评价。"),
    ("懂了，我按这个去弄", "好的，操作中卡住了直接回复本单就行。"),
)  # fmt: skip


def topics() -> list[list[tuple[list[str], list[str]]]]:
    """A topic is a list of pairs: the ways to ask and the ways to answer."""
    found: list[list[tuple[list[str], list[str]]]] = []
    for block in (WORDS / "service.txt").read_text("utf-8").split("\n\n")[1:]:
        asks = [line[2:].split(" / ") for line in block.splitlines() if line.startswith("问")]
        answers = [line[2:].split(" / ") for line in block.splitlines() if line.startswith("答")]
        found.append(list(zip(asks, answers, strict=True)))
    return found


def talk(topic: list[tuple[list[str], list[str]]], opening: int, random_: random.Random) -> list[Pair]:
    """One dialogue: the topic's opening in its own words, some of the follow-ups, at times a goodbye."""
    (asks, answers), *follow_ups = topic
    pairs: list[Pair] = [
        (
            random_.choice(GREETINGS) + asks[opening],
            random_.choice(OPENINGS) + random_.choice(answers).removeprefix("您好，"),
        )
    ]
    kept = sorted(random_.sample(range(len(follow_ups)), random_.randint(1, len(follow_ups))))
    pairs += [(random_.choice(follow_ups[i][0]), random_.choice(follow_ups[i][1])) for i in kept]
    if random_.random() < 0.4:
        pairs.append(random_.choice(CLOSINGS))
    return pairs


def dialogues(random_: random.Random) -> list[list[Pair]]:
    """120 dialogues, each opened in its own words, with three blemishes."""
    found = [talk(topic, opening, random_) for topic in topics() for opening in range(5)]
    random_.shuffle(found)
    found = found[:DIALOGUES]
    found[12].append(("那我把截图发你？", None))
    found[47].append(("麻烦回电 19900007788，找小周", "好的小周，已登记，客服会在15分钟内回拨。"))
    found[90] = [("请问静默工单是多长时间？", "静默工单是24小时没有回复的工单。")]
    found[101] = [("请问静默工单是多长时间？", "72小时没有新回复的工单，系统标记为静默。")]
    return found


def service_book(random_: random.Random) -> Workbook:
    """One pair a row. The number of a dialogue is merged downwards, or stands in its first row only."""
    book, sheet = blank("会话记录")
    headed(sheet, "在线客服会话导出", ("会话编号", "轮次", "客户", "客服"), (14, 7, 44, 64))
    for number, pairs in enumerate(dialogues(random_), start=1):
        first = sheet.max_row + 1
        for turn, (asked, answered) in enumerate(pairs, start=1):
            sheet.append((f"KF2606{number:04d}" if turn == 1 else None, turn, asked, answered))
        if len(pairs) > 1 and number % 3:
            sheet.merge_cells(start_row=first, end_row=sheet.max_row, start_column=1, end_column=1)
    return book


# ── labels ────────────────────────────────────────────────────────────────────────────────────────

ASKED = 320
ITEMS = (
    "连衣裙",
    "保温杯",
    "电饭煲",
    "运动鞋",
    "台灯",
    "儿童书包",
    "颈椎枕",
    "猫砂盆",
    "行李箱",
    "榨汁机",
    "羽绒服",
    "床单",
)
THINGS = (
    "dress",
    "thermos",
    "rice cooker",
    "running shoes",
    "desk lamp",
    "backpack",
    "pillow",
    "suitcase",
    "blender",
    "coat",
)
BEFORE = ("", "", "", "", "你好，", "在吗？", "亲，", "急！", "请问")
AFTER = ("", "", "", "", "，谢谢", "。", "！！", "，麻烦尽快", "~")


def intents(random_: random.Random) -> list[tuple[str, str]]:
    """320 distinct (what a customer writes, what it is about); some wants are rarer than others."""
    wants: dict[str, list[str]] = {}
    for line in (WORDS / "intents.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            label = line[1:-1]
            wants[label] = []
        elif line and not line.startswith("#"):
            wants[label].append(line)
    often = dict(zip(wants, (4, 5, 2, 3, 3), strict=True))
    rows: dict[str, str] = {}
    while len(rows) < ASKED:
        label = random_.choices(list(wants), [often[name] for name in wants])[0]
        form = random_.choice(wants[label])
        text = form.format(item=random_.choice(THINGS if form.isascii() else ITEMS), n=random_.randint(2, 9))
        if not form.isascii():
            text = random_.choice(BEFORE) + text + random_.choice(AFTER)
        rows[text] = label
    return list(rows.items())


def intents_book(random_: random.Random) -> Workbook:
    """Dirty: spaces behind labels, a label that is missing, two rows that stand twice."""
    book, sheet = blank("客户来意")
    headed(sheet, "客户来意标注（两位同事标注）", ("用户留言", "标签", "渠道"), (58, 12, 10))
    rows: list[tuple[str, str | None]] = list(intents(random_))
    for at in (14, 77, 203):
        rows[at] = (rows[at][0], f"{rows[at][1]} ")
    rows.insert(120, ("在吗", None))
    rows += [rows[5], rows[64]]
    for text, label in rows:
        sheet.append((text, label, random_.choice(("旺旺", "微信", "email", "电话转写"))))
    return book


# ── marks ─────────────────────────────────────────────────────────────────────────────────────────

MARKED = 240


def entities(random_: random.Random) -> list[tuple[str, str]]:
    """240 distinct (title, what is marked in it): three quarters Chinese, one quarter English."""
    rows: dict[str, str] = {}
    known = products()
    brands, looks, nouns, sizes, uses = _goods()
    while len(rows) < MARKED:
        if len(rows) % 4:
            product = random_.choice(known)
            parts = {
                "品牌": random_.choice(product.brands),
                "产品": product.noun,
                "规格": random_.choice(product.sizes),
            }
            look, use = random_.choice(product.looks), random_.choice(product.uses)
            form = random_.choice(
                (
                    "{品牌}{look}{产品}{规格}{use}",
                    "{look}{use}{产品} {规格} {品牌}",
                    "【{品牌}】{use}{look}{产品}{规格}",
                    "{use}{look}{产品}{规格}",
                    "{品牌} {产品} {look}{use}",
                )
            )
        else:
            parts = {"品牌": random_.choice(brands), "产品": random_.choice(nouns), "规格": random_.choice(sizes)}
            look, use = random_.choice(looks), random_.choice(uses)
            form = random_.choice(
                ("{品牌} {look} {产品} {规格} {use}", "{look} {产品} {use}, {规格}", "{产品} {use} by {品牌}")
            )
        title = form.format(look=look, use=use, **parts)
        inside = [name for name in parts if f"{{{name}}}" in form]
        if all(title.count(parts[name]) == 1 for name in inside):
            rows[title] = "; ".join(f"{name}:{parts[name]}" for name in inside)
    return list(rows.items())


def _goods() -> list[list[str]]:
    """Brands, looks, nouns, sizes and uses of English titles."""
    lines = [line for line in (WORDS / "goods.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    return [[part.strip() for part in (line.split("|") if "|" in line else line.split())] for line in lines]


def entities_book(random_: random.Random) -> Workbook:
    """Dirty: full-width signs, a mark that the title does not hold, a title without a mark, one that stands twice."""
    book, sheet = blank("标题标注")
    headed(sheet, "商品标题标注：品牌、产品、规格", ("商品标题", "标注", "备注"), (58, 44, 12))
    rows = entities(random_)
    for at in (9, 51, 130):
        rows[at] = (rows[at][0], rows[at][1].replace(":", "：").replace("; ", "；"))
    rows[30] = (rows[30][0], "产品:不在标题里的词")
    rows.insert(88, ("全场满199减20 限时两天", "无"))
    rows.append(rows[17])
    for title, marks in rows:
        sheet.append((title, marks, random_.choice((None, None, None, "已复核"))))
    return book


# ── workbooks ─────────────────────────────────────────────────────────────────────────────────────


def blank(name: str) -> tuple[Workbook, Worksheet]:
    book = Workbook()
    book.properties.creator = "Postil"
    sheet = book.worksheets[0]
    sheet.title = name
    return book, sheet


def headed(sheet: Worksheet, title: str, header: tuple[str, ...], widths: tuple[int, ...]) -> None:
    """A title merged over all columns, and the header below it."""
    sheet.append((title,))
    sheet.merge_cells(start_row=1, end_row=1, start_column=1, end_column=len(header))
    sheet["A1"].font = Font(bold=True, size=14)
    sheet["A1"].alignment = Alignment(horizontal="center")
    sheet.append(header)
    for column, width in enumerate(widths, start=1):
        cell = sheet.cell(2, column)
        cell.font = Font(bold=True)
        cell.fill = PatternFill("solid", fgColor="E8EEF7")
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = "A3"


def packed(book: Workbook) -> bytes:
    """A workbook whose bytes depend on its content only: no clock, no compressor."""
    book.properties.created = datetime(2026, 6, 1)
    raw, fixed = BytesIO(), BytesIO()
    book.save(raw)
    with ZipFile(raw) as old, ZipFile(fixed, "w", ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            content = re.sub(rb"<dcterms:modified.*?</dcterms:modified>", b"", old.read(name))
            new.writestr(ZipInfo(name, (2026, 6, 1, 0, 0, 0)), content)
    return fixed.getvalue()


def books() -> Iterator[tuple[str, Workbook]]:
    """The name of each sample and its workbook; each has its own source of chance."""
    yield "titles", titles_book(random.Random(SEED))  # noqa: S311
    yield "service", service_book(random.Random(SEED))  # noqa: S311
    yield "intents", intents_book(random.Random(SEED))  # noqa: S311
    yield "entities", entities_book(random.Random(SEED))  # noqa: S311


def main(folder: Path = SAMPLES) -> None:
    for name, book in books():
        (folder / f"{name}.xlsx").write_bytes(packed(book))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
