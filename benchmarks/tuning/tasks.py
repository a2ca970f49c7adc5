"""Ten small tasks that nobody tuned a rule to, and one in which there is nothing to learn.

Each is made by a seeded script out of facts of well-licensed packages (Babel, pycountry, the Unicode character
database) or of our own wording. No question of a test stands in the training rows; where a task is about what is new
(a noun, a phrase, an order), neither do its parts. Names, goods and house rules are invented.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from typing import Literal

from examples.make_samples import Product, compose, products

TEST_ROWS = 200
Pair = tuple[str, str]  # question, answer
Dialogue = tuple[str, ...]  # question, answer, question, answer, ...


@dataclass(frozen=True)
class TuningTask:
    """Rows to learn from and rows to be asked. metric: the one that decides, a name of `evaluate.metrics`."""

    name: str
    metric: Literal["exact_match", "char_f1"]
    training: list[Dialogue]
    test: list[Dialogue]

    def lines(self, part: Literal["training", "test"]) -> Iterator[str]:
        """The rows of a part as lines of JSON, as people hand them in."""
        for turns in getattr(self, part):
            roles = ("user", "assistant") * (len(turns) // 2)
            messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
            yield json.dumps({"messages": messages}, ensure_ascii=False)


def _parted(rows: Iterator[Dialogue], training: int) -> tuple[list[Dialogue], list[Dialogue]]:
    """The first rows with different questions, and the next ones for the test."""
    seen: set[str] = set()
    kept: list[Dialogue] = []
    for row in rows:
        if row[0] not in seen:
            seen.add(row[0])
            kept.append(row)
        if len(kept) == training + TEST_ROWS:
            return kept[:training], kept[training:]
    raise ValueError(f"{len(kept)} different rows, not {training + TEST_ROWS}")


# ── what a product is ─────────────────────────────────────────────────────────────────────────────


def titles(chance: random.Random, training: int = 200) -> tuple[list[Dialogue], list[Dialogue]]:
    """A product title → its noun. Nouns and brands of the test stand in no training title."""
    goods = products()
    chance.shuffle(goods)
    known, new = goods[: len(goods) // 2], goods[len(goods) // 2 :]
    brands = sorted({brand for one in goods for brand in one.brands})
    chance.shuffle(brands)
    middle = len(brands) // 2

    def made(among: list[Product], labels: list[str]) -> Iterator[Dialogue]:
        while True:
            one = chance.choice(among)
            yield compose(one, chance.choice(labels), chance), one.noun

    learned = _first(made(known, brands[:middle]), training)
    return learned, _first(made(new, brands[middle:]), TEST_ROWS)


def _first(rows: Iterator[Dialogue], count: int) -> list[Dialogue]:
    """So many rows with different questions."""
    kept: dict[str, Dialogue] = {}
    for row in rows:
        kept.setdefault(row[0], row)
        if len(kept) == count:
            break
    return list(kept.values())


# ── dates and amounts ─────────────────────────────────────────────────────────────────────────────

DATE_LANGUAGES = ("en", "de", "fr", "es", "zh", "it")


def dates(chance: random.Random, training: int = 400) -> tuple[list[Dialogue], list[Dialogue]]:
    """A date in words of six languages → ISO 8601."""
    from babel.dates import format_date

    def made() -> Iterator[Dialogue]:
        while True:
            day = date(1990, 1, 1) + timedelta(days=chance.randrange(365 * 45))
            form = chance.choice(("long", "full", "medium"))
            yield format_date(day, format=form, locale=chance.choice(DATE_LANGUAGES)), day.isoformat()

    return _parted(made(), training)


DIGITS = "零壹贰叁肆伍陆柒捌玖"
PLACES = ("", "拾", "佰", "仟")


def chinese_amount(yuan: int) -> str:
    """An amount of whole yuan below 100 million in the numerals of a Chinese cheque: 10305 → 壹万零叁佰零伍元整."""

    def below_ten_thousand(number: int) -> str:
        text, gap = "", False
        for place in (3, 2, 1, 0):
            digit = number // 10**place % 10
            if digit:
                text += ("零" if gap and text else "") + DIGITS[digit] + PLACES[place]
            gap = digit == 0
        return text

    high, low = divmod(yuan, 10_000)
    text = below_ten_thousand(high) + "万" if high else ""
    if low:
        text += ("零" if high and low < 1_000 else "") + below_ten_thousand(low)
    return f"{text}元整"


def amounts(chance: random.Random, training: int = 400) -> tuple[list[Dialogue], list[Dialogue]]:
    """An amount in digits ↔ in the numerals of a cheque."""

    def made() -> Iterator[Dialogue]:
        while True:
            yuan = chance.randrange(1, 10 ** chance.randint(2, 6))
            shown = f"¥{yuan:,}.00"
            yield (shown, chinese_amount(yuan)) if chance.random() < 0.6 else (chinese_amount(yuan), shown)

    return _parted(made(), training)


# ── names and codes ───────────────────────────────────────────────────────────────────────────────


def codes(chance: random.Random, training: int = 600) -> tuple[list[Dialogue], list[Dialogue]]:
    """The name of a country or a language, in one of five languages → its ISO code, as the house writes it."""
    import pycountry
    from babel import Locale

    pairs: list[Dialogue] = []
    for tongue in ("en", "de", "es", "zh", "fr"):
        names = Locale.parse(tongue)
        pairs += [
            (str(names.territories[one.alpha_2]), f"C-{one.alpha_3}")
            for one in pycountry.countries
            if one.alpha_2 in names.territories
        ]
        pairs += [
            (str(names.languages[one.alpha_2]), f"L-{one.alpha_3}")
            for one in pycountry.languages
            if getattr(one, "alpha_2", None) in names.languages
        ]
    chance.shuffle(pairs)
    return _parted(iter(pairs), training)


def emoji(chance: random.Random, training: int = 300) -> tuple[list[Dialogue], list[Dialogue]]:
    """A chat line with pictures → the line with their names in the house's form. All pictures are learned from."""
    known = [chr(code) for code in (*range(0x1F600, 0x1F62D), *range(0x1F950, 0x1F965))]
    words = (
        "see you",
        "thanks a lot",
        "on my way",
        "lunch",
        "great job",
        "the parcel is here",
        "back soon",
        "so tired",
        "what a day",
        "good night",
        "call me",
        "no idea",
    )

    def shown(picture: str) -> str:
        return "{" + unicodedata.name(picture).lower().replace(" ", "-") + "}"

    def made() -> Iterator[Dialogue]:
        while True:
            one, other = chance.sample(known, 2)
            said = chance.sample(words, 2)
            yield f"{said[0]} {one} {said[1]} {other}", f"{said[0]} {shown(one)} {said[1]} {shown(other)}"

    return _parted(made(), training)


# ── phrases of a house ────────────────────────────────────────────────────────────────────────────

# traditional → simplified; a house term where the house has one of its own
TERMS = {
    "軟體": "软件",
    "滑鼠": "鼠标",
    "螢幕": "屏幕",
    "印表機": "打印机",
    "網路": "网络",
    "資料庫": "数据库",
    "會員": "贵宾",
    "訂單": "单子",
    "退貨": "售后",
    "優惠券": "福利券",
    "購物車": "采购篮",
    "客服": "管家",
    "帳號": "账户",
    "密碼": "口令",
    "簡訊": "短信",
    "行動電話": "手机",
    "計程車": "出租车",
    "捷運": "地铁",
    "腳踏車": "自行车",
    "冷氣": "空调",
}
PHRASES = {
    "請問": "请问",
    "怎麼": "怎么",
    "無法": "无法",
    "開啟": "打开",
    "關閉": "关闭",
    "檢查": "检查",
    "設定": "设置",
    "購買": "购买",
    "維修": "维修",
    "聯絡": "联系",
    "確認": "确认",
    "這個": "这个",
    "那個": "那个",
    "我們的": "我们的",
    "您的": "您的",
    "舊的": "旧的",
    "壞掉的": "坏掉的",
    "還沒": "还没",
    "已經": "已经",
    "馬上": "马上",
    "明天": "明天",
    "週末": "周末",
    "幫我": "帮我",
    "為什麼": "为什么",
}
ACTS = ("無法", "開啟", "關閉", "檢查", "設定", "購買", "維修", "聯絡", "確認")
WHOSE = ("這個", "那個", "我們的", "您的", "舊的", "壞掉的")
ASKS = ("請問", "怎麼", "還沒", "已經", "馬上", "明天", "週末", "幫我", "為什麼")


def phrases(chance: random.Random, training: int = 300) -> tuple[list[Dialogue], list[Dialogue]]:
    """A phrase in traditional characters → simplified ones, with the terms that this house uses."""
    rows: list[Dialogue] = []
    for ask, act, whose, term in product(ASKS, ACTS, WHOSE, TERMS):
        rows.append((f"{ask}{act}{whose}{term}", f"{PHRASES[ask]}{PHRASES[act]}{PHRASES[whose]}{TERMS[term]}"))
    chance.shuffle(rows)
    return _parted(iter(rows), training)


def slots(chance: random.Random, training: int = 300) -> tuple[list[Dialogue], list[Dialogue]]:
    """What somebody orders by message → JSON with item, quantity, size, colour, city, rush."""
    items = ("shirt", "jacket", "mug", "lamp", "backpack", "notebook", "scarf", "kettle", "pillow", "umbrella")
    colours = ("red", "navy", "green", "grey", "white", "black")
    cities = ("Hangzhou", "Leeds", "Porto", "Austin", "Lyon", "Osaka", "Graz", "Chengdu")
    sizes = {"small": "S", "medium": "M", "large": "L", "extra large": "XL"}
    forms = (
        "Hi, could I get {n} {colour} {item}s in {size}, to {city} please{rush}",
        "{n} x {item} ({colour}, {size}) shipped to {city}{rush}",
        "Please send {n} {size} {item}s to my office in {city}, colour {colour}{rush}",
        "I'd like to order {n} {item}s. {colour}, size {size}. Deliver to {city}{rush}",
    )

    def made() -> Iterator[Dialogue]:
        while True:
            item, colour, city = chance.choice(items), chance.choice(colours), chance.choice(cities)
            size, n, rush = chance.choice(sorted(sizes)), chance.randint(2, 60), chance.random() < 0.3
            said = chance.choice(forms).format(
                n=n, item=item, colour=colour, size=size, city=city, rush=", it is urgent!" if rush else "."
            )
            order = {"item": item, "qty": n, "size": sizes[size], "colour": colour.upper(), "city": city, "rush": rush}
            yield said, json.dumps(order)

    return _parted(made(), training)


# ── labels, rules, dialogues ──────────────────────────────────────────────────────────────────────

LABELS: Mapping[str, tuple[str, ...]] = {
    "delivery_late": ("my parcel has not arrived", "still waiting for the box", "it was due days ago"),
    "delivery_damaged": ("the box was crushed", "it came broken", "the glass is in pieces"),
    "wrong_item": ("this is not what I ordered", "you sent another model", "the colour is wrong"),
    "refund_status": ("where is my money", "has the refund been paid", "I do not see the refund"),
    "return_request": ("I want to send it back", "how do I return this", "please take it back"),
    "exchange_size": ("it is too small, can I swap", "I need a larger one", "change it for a medium"),
    "invoice_copy": ("I need the invoice again", "send me the bill please", "our accounting needs the receipt"),
    "invoice_vat": ("the VAT number is missing", "please add our tax id", "the tax rate looks wrong"),
    "payment_failed": ("my card was declined", "the payment page stops", "paying does not work"),
    "payment_twice": ("I was charged two times", "the amount was taken twice", "double booking on my card"),
    "coupon_invalid": ("the code is not accepted", "my voucher does nothing", "the discount is not taken off"),
    "account_locked": ("I cannot sign in any more", "it says my account is locked", "too many attempts, shut out"),
    "password_reset": ("I forgot the password", "the reset mail never comes", "let me choose a new password"),
    "address_change": ("we have moved house", "please ship to another street", "the address is an old one"),
    "cancel_order": ("please stop the order", "I do not want it any longer", "cancel before it ships"),
    "stock_question": ("when is it back in stock", "is the blue one available", "do you still have any"),
    "size_advice": ("which size fits 180 cm", "does it run small", "how long are the sleeves"),
    "warranty": ("it stopped after a year", "is that covered by the guarantee", "the motor died, what now"),
    "bulk_offer": ("we need two hundred pieces", "what is the price for a school", "an offer for our company please"),
    "praise": ("you are wonderful", "thanks, all perfect", "best shop ever"),
}
BEFORE = ("Hello, ", "", "Good morning, ", "Sorry, but ", "Quick question: ", "Hi team, ", "Again: ")
AFTER = ("", ".", ", please help", ", thanks", "?!", ". Order {n}", ". My number is {n}", ", what can you do")


def labels(chance: random.Random, training: int = 400) -> tuple[list[Dialogue], list[Dialogue]]:
    """A message → one of twenty labels; a few are frequent. One training row of twenty has a wrong label."""
    names = list(LABELS)
    weights = [1 / (place + 1) ** 0.8 for place in range(len(names))]

    def made() -> Iterator[Dialogue]:
        while True:
            label = chance.choices(names, weights)[0]
            said = chance.choice(BEFORE) + chance.choice(LABELS[label]) + chance.choice(AFTER)
            yield said.format(n=chance.randint(1000, 9999)), label

    learned, asked = _parted(made(), training)
    noisy = [(said, chance.choice(names) if chance.random() < 0.05 else label) for said, label in learned]
    return list(noisy), asked


def rules(chance: random.Random, training: int = 300) -> tuple[list[Dialogue], list[Dialogue]]:
    """A note → the same by the rules of a house: amounts as CODE 0.00, times as 24 h, no shouting, no abbreviations."""
    people = ("Ms Lind", "Mr Okoye", "Dr Sato", "Ms Braun", "Mr Costa", "Dr Patel")
    acts = (
        "pay {amount} to {who}",
        "meet {who} at {time}",
        "call {who} abt the invoice of {amount}",
        "send {who} the qty for {amount}",
        "move the mtg with {who} to {time}",
    )
    short = {"abt": "about", "qty": "quantity", "mtg": "meeting", "asap": "as soon as possible"}
    money = {"$": "USD", "€": "EUR", "£": "GBP"}

    def made() -> Iterator[Dialogue]:
        while True:
            sign, total, hour = chance.choice(sorted(money)), chance.randint(5, 9500), chance.randint(1, 11)
            minute, late, asap = chance.choice((0, 15, 30, 45)), chance.random() < 0.5, chance.random() < 0.3
            act, who = chance.choice(acts) + " asap" * asap, chance.choice(people)
            note = act.format(amount=f"{sign}{total}", who=who, time=f"{hour}:{minute:02} {'pm' if late else 'am'}")
            clean = act.format(amount=f"{money[sign]} {total}.00", who=who, time=f"{hour + 12 * late:02}:{minute:02}")
            clean = " ".join(short.get(word, word) for word in clean.split())
            yield f"{note}!!", f"{clean[0].upper()}{clean[1:]}."

    return _parted(made(), training)


def service(chance: random.Random, training: int = 250) -> tuple[list[Dialogue], list[Dialogue]]:
    """Two turns with a help desk that has words, prices and a courtesy of its own; the second one needs the first."""
    plans = {"Birke": 19, "Linde": 34, "Ahorn": 58, "Eiche": 92}
    months = (3, 6, 12, 24)
    openings = ("Tell me about {plan}", "What is {plan}?", "I am thinking of {plan}", "Is {plan} right for me?")
    seconds = ("And for {m} months?", "What do I pay for {m} months?", "{m} months, how much?")

    def made() -> Iterator[Dialogue]:
        while True:
            plan, m, seats = chance.choice(sorted(plans)), chance.choice(months), chance.randint(2, 40)
            price = plans[plan]
            ask = f"{chance.choice(openings).format(plan=plan)} We are {seats} people."
            yield (
                ask,
                f"{plan} is our grove for {seats} leaves: {price} chips a month. Warmly, the Foresters",
                chance.choice(seconds).format(m=m),
                f"{m} moons of {plan}: {price * m} chips. Warmly, the Foresters",
            )

    return _parted(made(), training)


def null(chance: random.Random) -> tuple[list[Dialogue], list[Dialogue]]:
    """The titles with their answers shuffled, in both parts: nothing can be learned but how answers look."""
    training, test = titles(chance)

    def shuffled(rows: list[Dialogue]) -> list[Dialogue]:
        answers = [row[1] for row in rows]
        chance.shuffle(answers)
        return [(row[0], answer) for row, answer in zip(rows, answers, strict=True)]

    return shuffled(training), shuffled(test)


MAKERS: Mapping[str, tuple[Callable[[random.Random], tuple[list[Dialogue], list[Dialogue]]], str]] = {
    "titles": (titles, "exact_match"),
    "dates": (dates, "exact_match"),
    "amounts": (amounts, "exact_match"),
    "codes": (codes, "exact_match"),
    "emoji": (emoji, "exact_match"),
    "phrases": (phrases, "exact_match"),
    "slots": (slots, "exact_match"),
    "labels": (labels, "exact_match"),
    "rules": (rules, "exact_match"),
    "service": (service, "char_f1"),
    "null": (null, "exact_match"),
}


def task_of(name: str) -> TuningTask:
    """The task of that name: always the same rows."""
    maker, metric = MAKERS[name]
    training, test = maker(random.Random(f"tuning:{name}"))
    return TuningTask(name, metric, training, test)  # type: ignore[arg-type]
