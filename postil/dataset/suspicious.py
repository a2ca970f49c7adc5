"""What should not be learned from: placeholders, template leftovers, hidden instructions, secrets, look-alikes."""

from __future__ import annotations

import re


def _any(*parts: str, around: str = "{}") -> re.Pattern[str]:
    return re.compile(around.format("(?:" + "|".join(parts) + ")"), re.I)


_OPEN, _CLOSE = r"[【\[（(<《{]", r"[】\]）)>》}]"
_PLACEHOLDER = _any(
    r"[xX×*＊]{3,200}[?？。.!！]?",
    r"[?？.。…·\-—_~=/\\]{1,200}",
    _OPEN + r"{0,3}\s?(?:待补充|待完善|待填写?|待定|待更新|待确认|待录入|待编辑|待补|补充中|编写中|未填写?|测试"
    r"|示例(?:文本|问题|答案|回答)?|tbd|tba|todo|fixme|placeholder|fill (?:this )?in|null|nan|undefined"
    r"|to be (?:added|filled|completed|determined|confirmed))\s?" + _CLOSE + "{0,3}[。.!！]?",
    _OPEN + r"{1,3}\s?(?:请(?:填写|输入|补充)|此处填写|这里填写?|填写|你的|您的|your |insert |enter |answer|question"
    r"|text|n/?a|none)[^】\]）)>》}\n]{0,20}" + _CLOSE + "{1,3}",
    r"(?:your|type your|insert|enter)(?: \w{1,12}){0,2} here",
    r"#ref!|#value!|#name\?|#div/0!|#null!|#num!|#n/a",
)
_LOREM = _any("lorem ipsum", "dolor sit amet")
_TEMPLATE = _any(
    r"\{\{[^{}\n]{1,60}\}\}",
    r"\$\{[^{}\n]{1,60}\}",
    r"#\{[^{}\n]{1,60}\}",
    r"<%[^<>%\n]{1,60}%>",
    r"%\([a-z_]{1,30}\)s",
    r"\[(?:请填写|请输入|待填|填写|插入|insert|your|name|date|company|product|order)[^\[\]\n]{0,30}\]",
    r"【(?:请填写|请输入|待补充|待填|填写|XX+)[^【】\n]{0,30}】",
    "待补充",
    "lorem ipsum",
)
_INJECTION = _any(
    r"(?:ignore|disregard|forget|override)\s{1,3}(?:(?:all|any|the|your|my|of)\s{1,3}){0,3}"
    r"(?:previous|prior|above|earlier|preceding|system|original)\s{1,3}(?:instruction|prompt|rule|message|direction|guideline)",
    "(?:忽略|无视|忘记|忘掉|不要理会|跳过)(?:掉|你)?(?:之前|以上|上面|上述|前面|此前|先前|所有|一切|全部|系统)的?"
    "(?:所有|全部|一切|任何)?的?(?:指令|指示|提示词?|规则|设定|要求|命令|限制|对话)",
    "you are now (?:dan|in developer mode|jailbroken|unrestricted)",
    r"(?:reveal|print|show|repeat|leak)\s{1,3}(?:me\s{1,3})?(?:your|the)\s{1,3}(?:system|hidden|initial)\s{1,3}"
    r"(?:prompt|instruction)",
    "(?:输出|泄露|告诉我|显示|重复)(?:你的|一下)?(?:系统提示词?|系统指令|system prompt)",
    r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|system|assistant|user)\|>",
    r"\[/?INST\]",
    "<</?SYS>>",
)
_SECRET = _any(
    r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,200}",
    r"(?<![A-Za-z0-9])(?:AKIA[A-Z0-9]{16}|LTAI[A-Za-z0-9]{12,30}|gh[pousr]_[A-Za-z0-9]{30,60}|AIza[A-Za-z0-9_-]{30,40})",
    r"(?<![A-Za-z0-9])xox[bap]-[A-Za-z0-9-]{10,80}",
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----",
    r"(?:password|passwd|api[_ -]?key|secret[_ -]?key|access[_ -]?token)\s{0,3}[=:：]\s{0,3}[^\s，。,]{6,100}",
    r"密码\s{0,3}[是为=:：]\s{0,3}[A-Za-z0-9!@#$%^&*_.-]{6,60}",
)
_GARBLED = re.compile("\ufffd|锟斤拷|[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac")  # Ã©, â€™: UTF-8 read as Latin-1
_CODE = re.compile(r"(`{1,3})[^`]{1,5000}\1")  # what is quoted as code is spoken about
_ALIEN = (  # Cyrillic, and those Greek letters that look like English ones
    "\u0400-\u04ff\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bd\u03bf"
)
_LOOKALIKE = re.compile(f"[A-Za-z][{_ALIEN}]|[{_ALIEN}][A-Za-z]")
_HINTS = {  # words, in small letters, without which a pattern cannot match: looked for first, since that is fast
    "template_left": "{{ ${ #{ <% %( 待补充 lorem [ 【",
    "injection_text": "ignore disregard forget override now reveal print show repeat leak <| inst] sys>> "
    "忽略 无视 忘 不要理会 跳过 输出 泄露 告诉我 显示 重复",
    "secret_text": "sk- akia ltai ghp gho ghu ghs ghr xox aiza -----begin passw key token 密码",
}
_FOLLOW_UP = _any(
    "(?:那么(?![多大])|那(?![么些里边儿个时天年款种一家样达英曲]|不勒))[^\n。！]{0,20}",
    "(?:如果|要是|万一|假如)[^\n，,。！]{0,12}呢[?？]?",
    "(?:还有|其他的?|别的|然后|接着|继续|另外)(?:呢|说|讲)?[?？。]?",
    "(?:它|他们?|她们?|这个|那个|这|上面的?|刚才的?|前面的?)[^\n。！，,]{0,6}呢[?？]?",
    r"(?:(?:and|so|then|but|ok|okay),? )?(?:what|how) about (?:that|it|this|those|them|then|there)\??",
    r"(?:and|so|then|but) (?:if|what|how|when|why|where|who)\b[^\n.]{0,40}\??",
    r"what if (?:not|it|so|that|they)\b[^\n.]{0,30}\??",
    r"(?:why|how) (?:not|so|come)\??",
    "(?:and|then|what else|anything else|go on|continue|more|shorter|again)[.?!]?",
)
_SHORT_NE = re.compile(r"[^\n，,。；;:：]{1,10}呢[?？]?")
_COMPLETE = re.compile(
    "什么|怎么|如何|为何|哪|谁|多少|几|吗|是否|能不能|可不可以|多久|多长|多大|咋|啥|还是|要不要|有没有|行不行|好不好"
)


def placeholder(text: str) -> bool:
    """Whether the whole text is a placeholder: xxxx, 【待补充】, TBD, {{answer}}. 无 and 0 are true answers."""
    short = text.strip()
    if not short or len(short) > 200:
        return bool(_LOREM.match(short[:40]))
    return bool(_PLACEHOLDER.fullmatch(short) or _LOREM.match(short) or _TEMPLATE.fullmatch(short))


def oddities(text: str) -> list[tuple[str, str]]:
    """(issue code, the words) of template leftovers, hidden instructions, secrets and look-alike letters."""
    text = _CODE.sub("", text) if "`" in text else text
    low = text.lower()
    found = []
    for code, hints, pattern in _ODDITIES:
        for hint in hints:
            if hint in low:
                if match := pattern.search(text):
                    words = match.group()
                    found.append((code, words[:6] + "…" if code == "secret_text" else words[:40]))
                break
    if not text.isascii() and (match := _LOOKALIKE.search(text)):
        found.append(("homoglyphs", text[max(0, match.start() - 8) : match.end() + 8]))
    if not text.isascii() and (match := _GARBLED.search(text)):
        found.append(("garbled_text", text[max(0, match.start() - 8) : match.end() + 8]))
    return found


def without_template(text: str) -> str:
    """A text without its template leftovers; what is quoted as code stays."""
    parts, last = [], 0
    for code in _CODE.finditer(text):
        parts += [_TEMPLATE.sub("", text[last : code.start()]), code[0]]
        last = code.end()
    return re.sub(r"[ \t]{2,}", " ", "".join([*parts, _TEMPLATE.sub("", text[last:])])).strip()


def follow_up(text: str) -> bool:
    """Whether a question only makes sense after another one: 那颜色呢？, what about that?"""
    short = text.strip()
    if len(short) > 60:
        return False
    if _FOLLOW_UP.fullmatch(short):
        return True
    return bool(_SHORT_NE.fullmatch(short)) and not _COMPLETE.search(short)


_ODDITIES = tuple(
    (code, tuple(hints.split()), pattern)
    for (code, hints), pattern in zip(_HINTS.items(), (_TEMPLATE, _INJECTION, _SECRET), strict=True)
)
