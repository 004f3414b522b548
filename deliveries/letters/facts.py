"""The details of a payload as lines for a small table."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from deliveries.letters.numbers import number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import at, isolated, said

MOST_FACTS = 24
MOST_LISTED = 20
LONGEST_LABEL = 40
DEEPEST = 3
SKIPPED = {"object", "__v"}
LAST = ("_id", "_url", "account")  # how the keys end that people read last
LABELS = {
    "_id": gettext_noop("ID"),
    "account": gettext_noop("account ID"),
    "address": gettext_noop("address"),
    "api_key_id": gettext_noop("API key ID"),
    "approved_at": gettext_noop("approved at"),
    "consent_id": gettext_noop("consent ID"),
    "created_at": gettext_noop("created at"),
    "customer": gettext_noop("customer"),
    "customer_id": gettext_noop("customer ID"),
    "data_source": gettext_noop("data source"),
    "description": gettext_noop("description"),
    "email": gettext_noop("email"),
    "expiry": gettext_noop("ends"),
    "flow_type": gettext_noop("kind of consent"),
    "logo_url": gettext_noop("logo URL"),
    "metadata": gettext_noop("metadata"),
    "meter_id": gettext_noop("meter ID"),
    "meter_number": gettext_noop("meter number"),
    "name": gettext_noop("name"),
    "notes": gettext_noop("notes"),
    "old_key_expires_at": gettext_noop("old key works until"),
    "prefix": gettext_noop("begins with"),
    "reason": gettext_noop("reason"),
    "redirect_url": gettext_noop("return page URL"),
    "revoked_at": gettext_noop("revoked at"),
    "role": gettext_noop("role"),
    "rotated_at": gettext_noop("replaced at"),
    "rotated_by": gettext_noop("replaced by"),
    "status": gettext_noop("status"),
    "update_frequency": gettext_noop("update frequency"),
    "validity_state": gettext_noop("validity"),
}
PATH_LABELS: dict[tuple[str, ...], str] = {
    ("customer", "_id"): gettext_noop("customer ID"),
    ("customer", "email"): gettext_noop("customer's email"),
    ("customer", "name"): gettext_noop("customer"),
    ("customer_name",): gettext_noop("customer"),
}
WORDS = {"id": "ID", "url": "URL", "api": "API"}
# The values of these keys that are words.
SPOKEN = ("role", "status", "update_frequency", "validity_state")
BY_A_KEY = re.compile(r"API key (.*ovk_\S+…\)?)")  # as the API says that one key has replaced another
VALUES = {
    "active": gettext_noop("active"),
    "admin": gettext_noop("admin"),
    "daily": gettext_noop("daily"),
    "developer": gettext_noop("developer"),
    "expired": gettext_noop("expired"),
    "hourly": gettext_noop("hourly"),
    "inactive": gettext_noop("inactive"),
    "monthly": gettext_noop("monthly"),
    "owner": gettext_noop("owner"),
    "revoked": gettext_noop("revoked"),
    "valid": gettext_noop("valid"),
    "weekly": gettext_noop("weekly"),
}


@dataclass(frozen=True)
class Fact:
    """One line of the details."""

    label: str
    value: str


def facts(payload: Any, reader: Reader, paths: Sequence[str]) -> list[Fact]:
    """What the payload has at these paths, in this order."""
    found = ((tuple(path.split(".")), shown(at(payload, path), path, reader)) for path in paths)
    return [Fact(label(path), isolated(value)) for path, value in found if value]


def shown(value: object, path: str, reader: Reader) -> str:
    """The value at this path; words that we know, or that are ours, in the reader's language."""
    if path.endswith(SPOKEN) and isinstance(value, str) and value in VALUES:
        return _(VALUES[value])
    if path == "rotated_by" and (by_a_key := BY_A_KEY.fullmatch(str(value))):
        return _("API key %(key)s") % {"key": reader.shown(by_a_key[1])}
    return reader.shown(value)


def every_fact(payload: Any, reader: Reader) -> list[Fact]:
    """What a payload says that nobody knows the shape of: what people read first, ids and addresses of pages last."""
    found = list(islice(leaves(payload, (), reader), 4 * MOST_FACTS))
    found.sort(key=lambda leaf: bool(leaf[0]) and leaf[0][-1].endswith(LAST))
    return [Fact(label(path), isolated(value)) for path, value in found[:MOST_FACTS]]


def leaves(value: Any, path: tuple[str, ...], reader: Reader) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each scalar with the keys that lead to it; lists of scalars are one line, what lies deeper is counted."""
    if isinstance(value, dict) and len(path) < DEEPEST:
        for key, item in value.items():
            if key not in SKIPPED:
                yield from leaves(item, (*path, str(key)), reader)
    elif isinstance(value, list) and value and not any(isinstance(item, dict | list) for item in value[:20]):
        yield path, said(", ".join(reader.shown(item) for item in value[:MOST_LISTED]))
    elif isinstance(value, dict | list):
        if value:
            yield path, entries(len(value))
    elif value is not None and value != "":
        yield path, shown(value, path[-1] if path else "", reader)


def entries(count: int) -> str:
    return ngettext(
        "%(count)s entry, see notification.json", "%(count)s entries, see notification.json", count
    ) % {"count": number(count)}


def label(path: tuple[str, ...]) -> str:
    """`("customer", "created_at")` as "Customer: created at"."""
    known = PATH_LABELS.get(path)
    parts = [_(known)] if known else [word_for(step) for step in path] or [_("content")]
    return said(": ".join([parts[0][:1].upper() + parts[0][1:], *parts[1:]]), LONGEST_LABEL)


def word_for(key: str) -> str:
    if key in LABELS:
        return _(LABELS[key])
    return " ".join(WORDS.get(word, word) for word in key[: 4 * LONGEST_LABEL].strip("_").split("_"))
