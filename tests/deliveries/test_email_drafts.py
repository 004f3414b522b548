"""Emails of one event to several people: written once, and each still its own."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.mail.message import BadHeaderError

from deliveries.channels import EmailTarget, Notification
from deliveries.channels.drafts import NO_DELIVERY, NOBODY, drafts
from deliveries.channels.email import message, notification_message, send, send_email
from deliveries.channels.mime import Email, content, envelope_address
from deliveries.channels.wording import Wording, notification_wording
from events.event_types import EVENT_TYPES
from subscriptions.links import preferences_link, unsubscribe_link
from tests.support.smtp import mail_server

NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
SUBSCRIPTION = UUID("0318df2f-7b9c-4b2e-bf8d-113919ab1e78")
EVENT = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
BOUNDARY = re.compile(rb'boundary="([^"]+)"')
SIGNED_AT = re.compile(r"/cases/\S+?(?=[\s\"<])")  # a moment is in it
NAMES = [
    "Green Homes",
    'Zoë O\'Neill & Söhne <x> "quoted"',
    "100 %(email)s %s %% {{ preferences }}",
    "Flat 2\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>",
    "משפחת כהן",
    ".\r\n.",
    "long " * 200,
]
READERS = [("UTC", "en"), ("Europe/Berlin", "de")]


def recipients(application_name: str = "Green Homes", **more: str) -> list[EmailTarget]:
    addresses = [
        "ann@example.org",
        "o'neill&co%s@example.org",
        "bob.%(email)s@example.org",
        "zoë@exämple.org",
    ]
    return [EmailTarget(each, uuid4(), application_name, **more) for each in addresses]


def told(event_type: str = "user.created", payload: Any = ..., **fields: Any) -> Notification:
    chosen = EVENT_TYPES[event_type].example if payload is ... else payload
    happened = NOW - timedelta(minutes=5)
    return Notification(uuid4(), SUBSCRIPTION, EVENT, event_type, happened, json.dumps(chosen), **fields)


def named(name: str) -> dict[str, Any]:
    return {"_id": "1", "name": name, "email": "zoe@example.org"}


@pytest.fixture
def at_work() -> Iterator[None]:
    with drafts.kept():
        yield


def drafted(notification: Notification, target: EmailTarget) -> Wording:
    words = drafts.wording(notification, target)
    assert words
    return words


def noting(written: list[Notification]) -> Callable[[Notification, EmailTarget], Wording]:
    def write(notification: Notification, target: EmailTarget) -> Wording:
        written.append(notification)
        return notification_wording(notification, target)

    return write


def alike(words: Wording) -> tuple[str, ...]:
    return words.subject, SIGNED_AT.sub("", words.text), SIGNED_AT.sub("", words.html)


def parts(message: Message) -> list[tuple[list[tuple[str, str]], Any]]:
    """The headers and the content of each part, whatever the boundaries are."""
    return [
        (
            [(name, value) for name, value in part.raw_items() if "boundary" not in value],
            None if part.is_multipart() else part.get_payload(decode=True),
        )
        for part in message.walk()
    ]


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize(("event_type", "reader"), list(product(EVENT_TYPES, READERS)))
def test_everybody_gets_the_words_that_a_letter_of_their_own_would_have(event_type, reader):
    zone, language = reader
    for target in recipients(timezone=zone, language=language):
        notification = told(event_type)

        words = drafts.wording(notification, target) or notification_wording(notification, target)

        assert alike(words) == alike(notification_wording(notification, target))


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_payload_or_an_application_is_taken_for_a_gap(name):
    for target in recipients(name):
        notification = told("customer.created", named(name), test=True)

        assert drafts.wording(notification, target) == notification_wording(notification, target)


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_nothing_of_one_recipient_gets_into_the_email_of_another(event_type):
    sent = [(told(event_type, sequence=nth), target) for nth, target in enumerate(recipients())]

    emails = [notification_message(*each, NOW) for each in sent]

    for nth, email in enumerate(emails):
        all_of_it = (
            f"{email.body}{email.alternatives}{email.extra_headers}{email.attachments}{email.content()!r}"
        )
        assert unsubscribe_link(sent[nth][1].recipient_id) in email.body
        for notification, target in sent[:nth] + sent[nth + 1 :]:
            assert str(notification.delivery_id) not in all_of_it
            assert target.email not in all_of_it
            assert target.recipient_id.hex not in all_of_it
            assert preferences_link(target.recipient_id) not in all_of_it
        for nobodys in (NOBODY, NO_DELIVERY):
            assert str(nobodys) not in all_of_it
            assert nobodys.hex not in all_of_it


@pytest.mark.usefixtures("at_work")
def test_a_letter_is_written_once_for_all_who_read_it_alike(monkeypatch):
    written: list[Notification] = []
    monkeypatch.setattr("deliveries.channels.drafts.notification_wording", noting(written))

    for target in recipients() + recipients():
        drafts.wording(told(), target)
    assert len(written) == 1

    for target in recipients(language="de") + recipients(timezone="Europe/Berlin"):
        drafts.wording(told(), target)
    assert len(written) == 3


@pytest.mark.usefixtures("at_work")
def test_what_differs_in_anything_but_the_recipient_has_words_of_its_own():
    ann = recipients()[0]
    subjects = [
        drafted(notification, target).subject
        for notification, target in [
            (told("customer.created", named("First")), ann),
            (told("customer.created", named("Second")), ann),
            (told("customer.created", named("First"), test=True), ann),
        ]
    ]
    texts = [drafted(told(), to).text for to in (ann, recipients("Another")[0])]

    assert len(set(subjects)) == 3
    assert "Green Homes" in texts[0]
    assert "Another" in texts[1]
    assert "Green Homes" not in texts[1]


@pytest.mark.usefixtures("at_work")
def test_a_letter_that_makes_something_else_of_its_recipient_is_written_for_each(monkeypatch):
    monkeypatch.setattr(
        "deliveries.channels.drafts.notification_wording",
        lambda _, target: Wording("Hello", f"For {target.recipient_id.hex[:32].upper()}", ""),
    )

    assert drafts.wording(told(), recipients()[0]) is None


def test_drafts_are_forgotten_when_the_last_drain_ends():
    ann = recipients()[0]
    with drafts.kept():
        with drafts.kept():
            drafts.wording(told(), ann)
        assert drafts.known
    assert not drafts.known
    assert drafts.wording(told(), ann) is None


@pytest.mark.usefixtures("at_work")
def test_only_so_many_drafts_are_kept_and_none_of_a_large_payload(monkeypatch):
    monkeypatch.setattr("deliveries.channels.drafts.MOST_KEPT", 3)

    for nth in range(10):
        drafts.wording(told("customer.created", named(f"Number {nth}")), recipients()[0])

    assert len(drafts.known) <= 3
    assert drafts.wording(told("customer.created", named("x" * 40_000)), recipients()[0]) is None


@pytest.mark.usefixtures("at_work")
def test_threads_that_need_the_same_draft_at_once_have_it_written_once(monkeypatch):
    written: list[Notification] = []
    start = threading.Barrier(8)
    monkeypatch.setattr("deliveries.channels.drafts.notification_wording", noting(written))

    def write() -> None:
        start.wait(60)
        drafts.wording(told(), recipients()[0])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(written) == 1


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize(("event_type", "name"), list(product(EVENT_TYPES, NAMES)))
def test_the_bytes_are_those_that_the_standard_library_writes(event_type, name):
    payload = named(name) if event_type == "customer.created" else ...
    for target in recipients(name, reply_to="help@example.org"):
        email = notification_message(told(event_type, payload), target, NOW)

        ours, plain = email.content(), email.message().as_bytes(linesep="\r\n")

        assert same_boundaries(ours) == same_boundaries(plain)
        assert parts(message_from_bytes(ours)) == parts(message_from_bytes(plain))


@pytest.mark.parametrize(
    "words",
    [
        Wording("Plain", "Hello\n", "<p>Hello</p>"),
        Wording("Long " * 40, "é\n", "<p>é</p>"),
        Wording("Ünicode " * 30, "x" * 2000 + "\n", "<p>" + "é" * 999 + "</p>\n"),
        Wording(" spaces ", ".\n..\nFrom here\n\n", "a\rb\r\nc"),
        Wording("", "", "\n"),
    ],
)
def test_a_letter_without_an_attachment_has_the_same_bytes_too(words):
    email = Email(words.subject, words.text or "\n", to=["ann@example.org"])
    email.attach_alternative(words.html, "text/html")
    email.extra_headers = {"Message-ID": "<1@example.org>", "Date": "now", "X-Long": "word " * 50}

    assert same_boundaries(content(email)) == same_boundaries(email.message().as_bytes(linesep="\r\n"))


@pytest.mark.parametrize("value", ["a\nBcc: b@example.org", "a\rb", "é\r\n\r\nbody"])
def test_a_header_of_several_lines_is_refused(value):
    email = Email(value, "text", to=["ann@example.org"])
    email.attach_alternative("<p>", "text/html")

    with pytest.raises(BadHeaderError):
        email.content()


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Openvolt Events <events@openvolt.example>", "events@openvolt.example"),
        ("ann@exämple.org", "ann@xn--exmple-cua.org"),
    ],
)
def test_a_mail_server_is_told_the_bare_address(address, taken):
    assert envelope_address(address) == taken


@pytest.mark.parametrize(
    "address", ["a@b@c", "ann@example.org\r\nRCPT TO:<bob@example.org>", "ann@example.org, bob@example.org"]
)
def test_what_is_no_address_is_told_no_mail_server(address):
    with mail_server() as mailbox:
        report = send(told(), EmailTarget(address, uuid4(), "Green Homes"), NOW)

    assert not report.succeeded
    assert mailbox.envelopes == []


def test_lines_that_begin_with_dots_arrive_with_them():
    words = Wording("Dots", ".\n..\n. a\n\n.b\n", "<p>.</p>\n.\n")
    with mail_server() as mailbox:
        report = send_email(lambda: message(words, "ann@example.org", EVENT, NOW, ""), EVENT)

    assert report.succeeded
    for kind, sent in (("plain", words.text), ("html", words.html)):
        [part] = [each for each in mailbox.message().walk() if each.get_content_subtype() == kind]
        assert part.get_payload() == sent.replace("\n", "\r\n")


def same_boundaries(content: bytes) -> bytes:
    for nth, boundary in enumerate(BOUNDARY.findall(content)):
        content = content.replace(boundary, b"boundary-%d" % nth)
    return content
