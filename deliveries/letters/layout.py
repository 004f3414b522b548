"""How every letter looks: one text template, one HTML template whose styles are inlined once a process.

Mail programs want styles in attributes. css-inline puts them there, in the template itself before Django compiles it,
so that an email costs no more than its rendering. What Django fills in is hidden from the HTML parser meanwhile.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import css_inline
from django.template import Context, Template
from django.template.loader import get_template

VARIABLE = re.compile(r"{{.*?}}")
TAG = re.compile(r"{%.*?%}")
HIDDEN = re.compile(r"<!--django-(\d+)-->|django-(\d+)-")
KEPT_MARK = ' data-css-inline="keep"'
BLANK_LINES = re.compile(r"\n\s*\n\s*\n")


def as_text(words: Mapping[str, Any]) -> str:
    text = str(text_template().render(Context(dict(words), autoescape=False)))
    return BLANK_LINES.sub("\n\n", text).strip() + "\n"


def as_html(words: Mapping[str, Any]) -> str:
    return str(html_template().render(Context(dict(words))))


@cache
def text_template() -> Template:
    return get_template("emails/letter.txt").template  # type: ignore[attr-defined]


@cache
def html_template() -> Template:
    plain: Template = get_template("emails/letter.html").template  # type: ignore[attr-defined]
    return Template(inlined(plain.source), name=plain.name, engine=plain.engine)


def inlined(source: str) -> str:
    """The template with its `<style>` in attributes; what is marked `data-css-inline="keep"` stays.

    In the source, `{% … %}` stands where a comment may, and `{{ … }}` where text or an attribute's value may.
    """
    hidden: list[str] = []

    def hide(form: str) -> Any:
        def hidden_as(match: re.Match[str]) -> str:
            hidden.append(match[0])
            return form % (len(hidden) - 1)

        return hidden_as

    source = VARIABLE.sub(hide("django-%d-"), TAG.sub(hide("<!--django-%d-->"), source))
    inliner = css_inline.CSSInliner(load_remote_stylesheets=False)
    html = inliner.inline(source).replace(KEPT_MARK, "")
    return HIDDEN.sub(lambda match: hidden[int(match[1] or match[2])], html)
