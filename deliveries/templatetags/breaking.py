"""Where a line may end on a narrow screen: after a dot of a long name rather than anywhere, and not within a time."""

import re

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

WORD = re.compile(r"[^\s<>&;]+")
A_LINE = 28  # characters of what is mostly shown, on the narrowest screen
SEAM = re.compile(r"(?<=\w[./@_=?-])(?=\w)")
DAY = re.compile(r"\b(\d{1,2}\.?) (?=\w{3,4}\.? \d{4}\b)")
TIME = re.compile(r"\b(\d\d:\d\d)( Uhr)? (?=[A-Z])")

NO_BREAK = "&nbsp;"

register = template.Library()


@register.filter
def breakable(text: str, line: int = A_LINE) -> SafeString:
    """Escaped, with `<wbr>` at the seams of what is longer than a line: host names, addresses, paths and keys."""
    html = WORD.sub(lambda found: with_seams(found[0], line), escape(text))
    html = TIME.sub(lambda found: f"{found[1]}{(found[2] or '').replace(' ', NO_BREAK)}{NO_BREAK}", html)
    return mark_safe(DAY.sub(rf"\1{NO_BREAK}", html))  # noqa: S308 - escaped above


def with_seams(word: str, line: int) -> str:
    return SEAM.sub("<wbr>", word) if len(word) >= line else word
