"""How the operators' pages show a value: moments, states, links along the road, and documents."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import reduce
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from accounts.visible_text import visible

LONGEST_NAME = 60

NOTHING = "–"  # noqa: RUF001


def follow(row: object, path: str) -> Any:
    """The value at the end of `a.b.c`; None as soon as one of them is None."""
    return reduce(lambda value, name: None if value is None else getattr(value, name), path.split("."), row)


def column(path: str, show: Callable[[Any], Any], label: str = "") -> Any:
    """A column or field that shows the value at `path` of a row, for a list or for the row's own page.

    It is a function of the row. Django takes those among the names of fields; the types of django-stubs don't.
    """

    @admin.display(description=label or path.split(".")[-1].replace("_", " "))
    def shown(row: object) -> Any:
        value = follow(row, path)
        return NOTHING if value is None else show(value)

    shown.__name__ = path.replace(".", "_")
    return shown


def moment(value: datetime) -> SafeString:
    return format_html(
        '<time class="moment" datetime="{}">{}</time>', value.isoformat(), f"{value:%d %b %Y %H:%M:%S}"
    )


def state(value: str) -> SafeString:
    return format_html('<span class="state state-{}">{}</span>', value, value)


def identity(value: object) -> SafeString:
    return format_html('<code class="identity">{}</code>', value)


def link(row: Model) -> SafeString:
    return format_html('<a href="{}">{}</a>', page_of(row), Truncator(row).chars(LONGEST_NAME))


def page_of(row: Model) -> str:
    options = row._meta
    return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[quote(row.pk)])


def list_of(model: str, **narrowed: object) -> str:
    """The list of `app_model`, narrowed down by lookups."""
    url = reverse(f"admin:{model}_changelist")
    return f"{url}?{urlencode(narrowed)}" if narrowed else url


def document(text: str) -> str:
    """Text in a box of its own, which scrolls by mouse and by keyboard when it is long."""
    return format_html('<pre class="document" tabindex="0">{}</pre>', text) if text else NOTHING


def json_document(value: object) -> str:
    return document(json.dumps(value, indent=2, ensure_ascii=False))


def text_document(text: str) -> str:
    """Text that may be JSON: then with line breaks. Answers of receivers are hostile, and may be anything."""
    try:
        return json_document(json.loads(text))
    except (ValueError, RecursionError):
        return document(text)


def header_document(headers: dict[str, Any]) -> str:
    return document("\n".join(f"{name}: {value}" for name, value in headers.items()))


def lines(values: list[Any]) -> str:
    return ", ".join(visible(value) for value in values) or NOTHING


def plain(value: object) -> str:
    return visible(value) or NOTHING


def yes_no(value: bool) -> str:
    return "yes" if value else "no"


def milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
