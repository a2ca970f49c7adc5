import pytest

from postil.plan.kinds import chinese_share, form_of, kind_of, units
from postil.records import Example, Message
from tests.plan.sheets import sheets


def pairs(*rows):
    return [Example((Message("user", q), Message("assistant", a)), (i,)) for i, (q, a) in enumerate(rows)]


TITLES = pairs(
    ("提取商品主体：三只松鼠碧根果奶油味坚果零食袋装", "碧根果"), ("提取商品主体：夏季薄款冰丝睡衣女两件套", "睡衣"),
    ("提取商品主体：不锈钢保温杯男大容量车载", "保温杯"), ("提取商品主体：北欧风实木书架落地简约", "书架"),
    ("提取商品主体：儿童防滑凉拖鞋夏软底", "凉拖鞋"),
)  # fmt: skip
PARTS = pairs(
    ("Name the product: Stainless steel water bottle 750 ml, leakproof", "water bottle"),
    ("Name the product: Kids' rain boots with handles, yellow, size 28", "rain boots"),
    ("Name the product: Wireless mouse for laptop, silent click", "mouse"),
)
LABELS_ZH = pairs(*[(f"这次买的东西{word}", label) for word, label in
                    [("很好用", "好评"), ("很差劲", "差评"), ("一般般", "中评"), ("不错哦", "好评")] * 8])  # fmt: skip
LABELS_EN = pairs(
    *[(f"Text {i}: {w}", w2) for i, (w, w2) in enumerate([("lovely", "positive"), ("awful", "negative")] * 12)]
)
JSON = pairs(*[(f"订单{i}：张三买了{i}件", f'{{"name": "张三", "count": {i}}}') for i in range(6)])
SERVICE_ZH = pairs(
    ("什么时候发货？", "您好，下午四点前付款的订单当天发货，之后的次日发货。"),
    ("可以开发票吗？", "可以的，请在订单页面申请电子发票，一个工作日内发到邮箱。"),
    ("退货运费谁出？", "质量问题由我们承担运费，其他原因由买家承担。"),
    ("怎么修改地址", "发货前可以在订单详情里修改，发货后请联系快递。"),
)
SERVICE_EN = pairs(
    ("When will my order ship?", "Orders paid before 4 pm ship the same day, all others the next day."),
    ("Can I get an invoice?", "Yes, ask for it on the order page and it arrives by e-mail within a day."),
    ("Who pays for returns?", "We do if the item is faulty, otherwise the buyer does."),
)
LONG_ZH = "根据行业惯例，埋点方案应当先梳理业务目标，再确定关键路径和事件口径，最后约定上报时机与校验方式。" * 4
LONG_EN = "First list the goals of the business, then settle which events are counted and how they are checked. " * 9
CONSULTING_ZH = pairs(*[(f"第{i}个问题：埋点方案怎么设计？", f"{i}。{LONG_ZH}") for i in range(4)])
CONSULTING_EN = pairs(*[(f"Question {i}: how do we plan tracking?", f"{i}. {LONG_EN}") for i in range(4)])
COPY_ZH = pairs(
    ("产品：冰丝防晒衣 卖点：轻薄透气", "夏天出门就怕晒！这件冰丝防晒衣薄得像没穿，"
     "风一吹就凉，通勤骑车都合适，口袋还能装下手机和钥匙，闭眼入。"),
    ("产品：手工牛皮包 卖点：越用越有光泽", "一张头层牛皮，四十八道手缝线，它陪你挤地铁、"
     "赶航班、见客户，每一道痕迹都是故事，越用越亮，越看越耐看！"),
    ("产品：儿童保温杯 卖点：316不锈钢", "宝贝的第一只水杯，妈妈最在意的是安全！"
     "316 不锈钢内胆，吸管可拆洗，摔了也不漏，开学带上它，老师都来问链接。"),
)  # fmt: skip
COPY_EN = pairs(
    ("Product: linen shirt. Points: light, cool", "Meet the shirt that makes summer easy! Woven from washed linen, "
     "it stays cool on the hottest train, dries overnight on a chair, and looks better with every crease you add. "
     "Roll up the sleeves, pack it anywhere and forget that you own an iron."),
    ("Product: cast iron pan. Points: lasts", "Sunday pancakes, Tuesday steaks, a pie at Christmas: one pan does it "
     "all and gets better every year. Pre-seasoned with linseed oil, heavy enough to hold its heat, and made to be "
     "handed down to whoever learns to cook beside you!"),
)  # fmt: skip


def chats(turns):
    return [Example(tuple(Message(r, c) for q, a in turns for r, c in (("user", q), ("assistant", a))), (i,))
            for i in range(3)]  # fmt: skip


CHAT_ZH = chats([("在吗", "在的，请讲。"), ("工单怎么还没闭环？", "马上为您催促，请稍等。")])
CHAT_EN = chats([("Hello", "Hello, how can I help?"), ("My ticket is still open", "I will look into it right away.")])


@pytest.mark.parametrize(("examples", "kind", "reason"), [
    (TITLES, "extraction", "kind_copied"), (PARTS, "extraction", "kind_copied"),
    (LABELS_ZH, "extraction", "kind_closed"), (LABELS_EN, "extraction", "kind_closed"),
    (JSON, "extraction", "kind_structured"),
    (SERVICE_ZH, "service_qa", "kind_service"), (SERVICE_EN, "service_qa", "kind_service"),
    (CONSULTING_ZH, "consulting", "kind_consulting"), (CONSULTING_EN, "consulting", "kind_consulting"),
    (COPY_ZH, "copywriting", "kind_copywriting"), (COPY_EN, "copywriting", "kind_copywriting"),
    (CHAT_ZH, "chat", "kind_chat"), (CHAT_EN, "chat", "kind_chat"),
])  # fmt: skip
def test_each_kind_is_told_in_both_languages(examples, kind, reason):
    assert kind_of(examples)[:2] == (kind, reason)


def test_the_order_of_the_examples_does_not_matter():
    for examples in (TITLES, SERVICE_EN, COPY_ZH):
        assert kind_of(examples) == kind_of(list(reversed(examples)))


def test_nothing_at_all_is_still_a_kind():
    assert kind_of([])[0] in {"extraction", "service_qa"}


def test_a_unit_is_a_chinese_character_or_a_word():
    assert units("保温杯 500ml!") == 4
    assert units("a water bottle") == 3


def test_the_share_of_chinese_is_of_letters_only():
    assert chinese_share(pairs(("你好 123 !!!", "世界"))) == 1.0
    assert chinese_share(pairs(("hello", "world"))) == 0.0
    assert chinese_share([]) == 0.0


def test_a_large_set_is_sampled_evenly():
    rows = [("问？", "短")] * 5000 + [("问？", "长" * 300)] * 5000
    assert form_of(pairs(*rows)).asked == 1.0
    assert 1 <= form_of(pairs(*rows)).length <= 300


def test_sixty_sheets_of_all_kinds_are_told_apart():
    """At least 95 % right, and none of a kind that is not among them."""
    decided = [(name, kind, kind_of(examples)[0]) for name, kind, examples in sheets()]
    wrong = [row for row in decided if row[1] != row[2]]
    assert len(decided) >= 60 and len(wrong) <= 0.05 * len(decided), wrong


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("addresses_zh", "columns"),
        ("orders_json", "json"),
        ("pairs_one_missing", "pairs"),
        ("percent", "number"),
        ("dates_iso", "code"),
        ("labels_several", "list"),
        ("desk_en", ""),
        ("copy_zh", ""),
        ("titles_en", ""),
    ],
)
def test_the_form_of_the_answers(name, form):
    (examples,) = [examples for known, _, examples in sheets() if known == name]
    assert form_of(examples).form == form


def test_no_word_of_any_language_decides():
    """The same sheet in letters that mean nothing has the same kind."""
    letters = str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")
    for name, kind, examples in sheets():
        spoken = [
            Example(tuple(Message(m.role, m.content.translate(letters)) for m in one.messages), one.rows)
            for one in examples
        ]
        if "json" not in name:  # whose true and false are no words
            assert (kind_of(spoken)[0] == kind) == (kind_of(examples)[0] == kind), name
