"""Every kind of email that the service sends, with names that mean harm, through a real mail server: each one clean."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import parseaddr

import html5lib  # type: ignore[import-untyped]
import pytest
from django.conf import settings

from deliveries.channels.email import deliver
from deliveries.letters import handling, outages, outages_together
from deliveries.letters.fallback import Missed
from deliveries.letters.reading import ZERO_WIDTH_SPACE
from tests.deliveries.test_email_channel import text_of
from tests.lookbook.emails import (
    ADDRESS,
    BERLIN,
    COLLEAGUE,
    CONSENT,
    LONDON,
    NOW,
    OUTAGE,
    Sample,
    Writer,
    hostile,
    week,
    with_case,
)
from tests.support.smtp import mail_server

HOSTILE = {
    "quotes": "Zoë O'Neill & Söhne <x> \"'`",
    "emoji": "👩‍👩‍👧‍👦 Müller 🏠 e\u0301",
    "right to left": "משפחת כהן 12 شقة \u202egnp.exe\u2066",
    "header": "x\r\nBcc: victim@example.org\r\nSubject: Won!\r\n\r\n<script>alert(1)</script>",
    "folded header": "x\n\tReply-To: victim@example.org\x0b\x0c\x1c\x85\u2028\u2029",
    "dots and the end": "x\r\n.\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n",
    "998": "Gesellschaft" * 90,
    "a thousand words": "ab " * 400,
    "wide": "議" * 998,
    "template": "{{ settings.SECRET_KEY }} {% now 'Y' %} %s %(email)s %d %% {0} ${x} #{x}",
    "markup": '"><img src=x onerror=alert(1)></td></table><a href="https://evil.example">free</a><!--',
    "mail links": "x?bcc=victim@example.org&body=%0d%0aBcc:victim@example.org https://evil.example/",
    "controls": "a\0b\x07c\x1b[31md\ufeff\ud800",
    "encoded": "=?utf-8?q?=0d=0aBcc=3a_victim=40example.org?= =?utf-8?b?DQpCY2M6IGE=?=",
}
ONCE = {
    "Subject",
    "From",
    "To",
    "Date",
    "Message-ID",
    "Content-Type",
    "MIME-Version",
    "Auto-Submitted",
}
ALLOWED = ONCE | {
    "Reply-To",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "openvolt-event-id",
    "openvolt-attempt",
    "openvolt-trigger",
}
TURNING = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2069"}
ISOLATES = {"\u2068", "\u2069"}  # ours, around what reads from right to left
LONGEST_SUBJECT = 140
LINK = re.compile(
    r"^(?:mailto:[^?\s]*(?:\?(?:subject|body)=[^&\s]*(?:&body=[^&\s]*)?)?|http://localhost:8000/\S*)$"
)


def every_kind(text: str, writer: Writer) -> Iterator[Sample]:
    """With this text wherever one can be chosen."""
    customer = {"_id": text, "name": text, "email": f"{text}@example.org"}
    consent = CONSENT | {"customer": customer, "description": text, "reason": text, "customer_id": text}
    key = {"api_key_id": text, "name": text, "prefix": text, "rotated_at": text, "rotated_by": text}
    outage = OUTAGE | {"url": f"https://hooks.example/{text}", "description": text, "last_error": text}
    missed = Missed(outage["url"], True, 10, NOW, NOW, text)
    yield writer.told("hosted_consent.revoked", "", consent)
    yield writer.told("api_keys.rotated", "", key)
    yield writer.told("customer.created", "", customer)
    yield writer.told("tariff.changed", "", hostile(text) | {text: text})
    yield writer.digest(
        "digest", "", [("hosted_consent.revoked", consent), ("customer.created", customer)] * 3
    )
    yield writer.asked("confirm", ["*", text])
    yield writer.asked("confirm.fallback", ["*"], outage["url"])
    yield writer.fallback("fallback", missed, payload=consent, on_it=COLLEAGUE)
    yield writer.failing("failing", outages.failing, outage)
    yield writer.failing("disabled", outages.disabled, with_case(outage))
    yield writer.failing_together("together", outages_together.disabled, [with_case(outage)] * 2)
    for name, note in {"taken": handling.taken, "done": handling.done, "yours": handling.handed_over}.items():
        yield writer.case_note(name, note, text, consent)
    bad = {"url": outage["url"], "description": text}
    weekly = week(1, 1)
    failing = [each | bad for each in weekly["failing"]]
    slowest = [each | bad for each in weekly["slowest"]]
    yield writer.summed_up("summary", "", weekly | {"failing": failing, "slowest": slowest})


def sent(text: str, writer: Writer) -> list[tuple[str, bytes, EmailMessage]]:
    samples = [*every_kind(text, writer)]
    with mail_server() as mailbox:
        reports = [deliver(sample.email) for sample in samples]
    assert [report.error for report in reports] == [""] * len(samples)
    names = [sample.name for sample in samples]
    return [*zip(names, mailbox.contents(), mailbox.messages(), strict=True)]


@pytest.mark.parametrize("writer", [LONDON, BERLIN], ids=["en", "de"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_kind_of_email_is_clean_whatever_the_names_are(text, writer):
    for name, content, message in sent(text, Writer(writer, text)):
        assert_one_email(name, content, message)
        assert_clean_subject(name, message["subject"])
        assert_clean_text(name, text_of(message).replace("\r\n", "\n"))
        assert_clean_html(name, text_of(message, "html"))


def assert_one_email(name: str, content: bytes, message: EmailMessage) -> None:
    headers = Counter(message.keys())
    assert set(headers) <= ALLOWED, (name, set(headers) - ALLOWED)
    assert set(headers) >= ONCE, name
    assert set(headers.values()) == {1}, name
    assert message["to"] == ADDRESS, name
    assert [str(each.addr_spec) for each in message["from"].addresses] == [
        parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    ], name
    assert max(map(len, content.split(b"\r\n"))) <= 998, name
    assert b"\n" not in content.replace(b"\r\n", b""), name
    for part in message.walk():
        assert not part.defects, (name, part.defects)
        assert not any(value.defects for value in part.values()), name


def assert_clean_subject(name: str, subject: str) -> None:
    assert 5 < len(subject) <= LONGEST_SUBJECT, (name, subject)
    assert not [each for each in subject if unicodedata.category(each) in ("Cc", "Zl", "Zp", "Cs")], name
    assert not TURNING - ISOLATES & {*subject}, name


def assert_clean_text(name: str, text: str) -> None:
    odd = {each for each in text if unicodedata.category(each) in ("Cc", "Zl", "Zp", "Cs") and each != "\n"}
    assert odd == set(), name
    assert not (TURNING - ISOLATES) & {*text}, name
    assert "\nBcc:" not in text, name
    assert "insecure" not in text, name
    assert len(text) < 30_000, name


def assert_clean_html(name: str, html: str) -> None:
    document = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    tags = {element.tag for element in document.iter() if isinstance(element.tag, str)}
    assert tags.isdisjoint({"script", "img", "iframe", "form", "input", "object", "x", "b"}), name
    for link in document.iter("a"):
        assert LINK.match(link.get("href")), (name, link.get("href"))
        assert "victim" not in link.get("href").partition("?")[0], name
    assert len(html.encode()) < 102_400, name


def test_what_templates_would_make_something_of_stays_as_it_is():
    text = HOSTILE["template"]
    shown = [
        text_of(message)
        for name, _, message in sent(text, Writer(LONDON, "Green Homes"))
        if name != "confirm"
    ]

    shown = [each.replace(ZERO_WIDTH_SPACE, "") for each in shown]
    assert sum("{{ settings.SECRET_KEY }} {% now 'Y' %} %s %(email)s" in each for each in shown) >= 5


def test_names_of_all_the_world_arrive_in_every_kind_of_email_as_they_are():
    for name, _, message in sent("Zoë O'Neill & Söhne <x> 🏠", Writer(LONDON, "Zoë O'Neill & Söhne <x> 🏠")):
        assert "Zoë O'Neill & Söhne <x> 🏠" in text_of(message), name
        assert "Zoë O&#x27;Neill &amp; Söhne &lt;x&gt; 🏠" in text_of(message, "html"), name
