"""The page on which a recipient chooses, and the promise that opening links changes nothing."""

import re
from datetime import time, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from deliveries.dispatch import drain
from deliveries.lifecycle import choose
from deliveries.models import Delivery, Notice
from deliveries.publishing import publish
from subscriptions.links import confirm_link, preferences_link, unsubscribe_link
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db(transaction=True)

LINK = re.compile(r"https?://[^\s<>\"]+")
CHOSEN: dict[str, Any] = {
    "types": ["meter.created", "hosted_consent.revoked"],
    "frequency": "daily",
    "digest_hour": "9",
    "quiet_from": "22:00",
    "quiet_until": "07:00",
    "timezone": "Europe/Berlin",
    "language": "de",
}


@pytest.fixture
def ann() -> Recipient:
    return factories.confirmed_emails(factories.application()).recipients.get()


def page(recipient: Recipient) -> str:
    return urlsplit(preferences_link(recipient.id)).path


def saved(recipient: Recipient) -> dict[str, Any]:
    recipient.refresh_from_db()
    return {name: getattr(recipient, name) for name in CHOSEN}


def test_the_button_saves_what_was_chosen_and_the_page_speaks_that_language(ann):
    answer = Client(enforce_csrf_checks=True).post(page(ann), CHOSEN)

    assert answer.status_code == 200
    assert saved(ann) == CHOSEN | {"digest_hour": 9, "quiet_from": time(22), "quiet_until": time(7)}
    assert "Gespeichert." in answer.content.decode()
    assert '<html lang="de">' in answer.content.decode()


def test_all_types_are_kept_as_all_so_that_new_ones_are_wanted_too(client, ann):
    client.post(page(ann), CHOSEN | {"types": re.findall(r'name="types" value="([^"]+)"', get(client, ann))})

    assert saved(ann)["types"] == []


def get(client: Client, ann: Recipient) -> str:
    answer = client.get(page(ann))
    assert answer.status_code == 200
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    return answer.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("types", []),
        ("types", ["made.up"]),
        ("frequency", "weekly"),
        ("digest_hour", "24"),
        ("quiet_from", ""),
        ("quiet_until", ""),
        ("quiet_until", "22:00"),
        ("quiet_from", "25:99"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "../../etc/passwd"),
        ("language", "fr"),
    ],
)
def test_what_is_not_valid_is_shown_again_with_the_reason_and_nothing_is_saved(client, ann, field, value):
    before = saved(ann)

    answer = client.post(page(ann), CHOSEN | {field: value})

    assert answer.status_code == 422
    assert 'class="errorlist"' in answer.content.decode()
    assert saved(ann) == before


def test_a_link_is_of_no_use_for_another_recipient_nor_for_another_page(client, ann):
    other = uuid4().hex
    for link in (
        page(ann).replace(ann.id.hex, other),
        urlsplit(unsubscribe_link(ann.id)).path.replace("unsubscribe", "preferences"),
        urlsplit(confirm_link(ann.id)).path.replace("confirm", "preferences"),
        page(ann).replace("preferences", "unsubscribe"),
    ):
        assert client.post(link, CHOSEN).status_code == 404
    ann.refresh_from_db()
    assert (ann.status, ann.frequency) == ("confirmed", "at_once")


def test_who_is_unsubscribed_has_nothing_to_choose(client, ann):
    Recipient.objects.filter(pk=ann.pk).update(status="unsubscribed")

    assert "<form" not in get(client, ann)
    assert client.post(page(ann), CHOSEN).status_code == 422
    assert saved(ann)["frequency"] == "at_once"


def test_a_scanner_that_opens_every_link_of_every_email_changes_nothing(client):
    subscription = factories.confirmed_emails(factories.application(), ["ann@example.org", "bob@example.org"])
    bob = subscription.recipients.get(email="bob@example.org")
    choose(bob, {"frequency": "hourly"}, timezone.now())
    factories.emails(subscription.application, ["cy@example.org"])
    for each in ("user.created", "meter_data.received", "hosted_consent.revoked", "api_keys.rotated"):
        publish(subscription.application, each, factories.example(each))
    clock = Clock()
    with mail_server() as mailbox:
        drain("email", clock)
        clock.forward(timedelta(hours=1))
        drain("email", clock)
    texts = [
        part.get_content()
        for message in mailbox.messages()
        for part in message.walk()
        if part.get_content_maintype() == "text"
    ] + [str(message["list-unsubscribe"]) for message in mailbox.messages()]
    links = {link for text in texts for link in LINK.findall(text)}
    purposes = {" ".join(link.split("/")[3:-1]) for link in links}
    assert purposes == {"cases", "recipients confirm", "recipients preferences", "recipients unsubscribe"}
    before = everything()

    for link in links:
        for method in (client.get, client.head):
            assert method(urlsplit(link).path).status_code == 200

    assert everything() == before


def everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Recipient, Delivery, Notice)]
