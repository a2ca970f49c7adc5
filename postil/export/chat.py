"""The chat template as it leaves the house: what our own code gives it at each call, it now says by itself.

Postil calls a template with `enable_thinking`, with a fixed day, and with the system prompt before the first question
where the template knows no system message. Others call it with the messages alone, or with defaults of their own
(llama.cpp gives today's date, and lets every model think), and would get another prompt than the one that was learned.
So what was learned is written into the template.
"""

from __future__ import annotations

import re

from postil.model.template import Template, fixed_day

_FOLD = (
    "{%- if messages and messages[0]['role'] == 'system' and messages | length > 1 %}"
    "{%- set messages = [{'role': messages[1]['role'], 'content': messages[0]['content'] + '\\n\\n' + "
    "messages[1]['content']}] + messages[2:] %}"
    "{%- endif %}"
)
_DAY = re.compile(r"strftime_now\(\s*(?P<mark>['\"])(?P<form>[^'\"]*)(?P=mark)\s*\)")


def outgoing(template: Template) -> str:
    """The Jinja text that gives, from the messages alone, the very prompt that was learned."""
    text = template.text
    before = ""
    if "enable_thinking" in text:
        before += f"{{%- set enable_thinking = {'true' if template.thinking else 'false'} %}}"
    if "date_string" in text:
        before += f"{{%- set date_string = '{fixed_day('%d %b %Y')}' %}}"
    if template.folds_system:
        before += _FOLD
    return before + _DAY.sub(lambda found: f"'{fixed_day(found['form'])}'", text)
