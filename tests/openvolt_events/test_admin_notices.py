"""What staff see of the service's own emails: why one that nothing went wrong with is not sent yet."""

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Application
from deliveries.domains import pause
from deliveries.models import Notice
from deliveries.notices import GATHER_FOR, in_turn
from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db

LIST = "/admin/deliveries/notice/"
KIND = Notice.Kind
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def ann() -> Recipient:
    recipient = factories.confirmed_emails(factories.application()).recipients.get()
    Notice.objects.all().delete()
    return recipient


def of(ann: Recipient, kind: str, due_at: datetime | None, **more: Any) -> Notice:
    return Notice.objects.create(
        kind=kind,
        application=ann.subscription.application,
        email=ann.email,
        recipient=ann,
        subscription=ann.subscription,
        due_at=due_at,
        **more,
    )


def seen(client: Client) -> list[str]:
    """The list, and the page of the only notice, as they are read."""
    paths = [LIST, f"{LIST}{Notice.objects.get().pk}/change/"]
    pages = [client.get(path).content.decode().partition("<main")[2] for path in paths]
    return [re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page))) for page in pages]


def test_a_domain_that_asked_for_time_is_said_to_have(admin_client, ann, now):
    of(ann, KIND.CASE_DONE, now)
    pause(["example.org"], now)

    for page in seen(admin_client):
        assert "The mail server of example.org, or ours on its behalf, asked for time" in page


def test_another_domains_pause_says_nothing(admin_client, ann, now):
    of(ann, KIND.CASE_DONE, now)
    pause(["example.com"], now)

    for page in seen(admin_client):
        assert "asked for time" not in page


def test_a_question_that_waits_says_which_limit_it_waits_for(admin_client, ann, now):
    asked = [KIND.CONFIRMATION] * 6
    *_, sixth = in_turn([question(ann, kind, now) for kind in asked], ann.application_id, now)
    sixth.save()
    for page in seen(admin_client):
        assert "An address is asked 5 times a day at most whether it may get an application's emails" in page

    Notice.objects.update(due_at=now + 3 * HOUR)
    for page in seen(admin_client):
        assert "An application asks 500 addresses an hour at most" in page


def question(ann: Recipient, kind: str, now: datetime) -> Notice:
    return Notice(
        kind=kind, application=ann.subscription.application, email=ann.email, recipient=ann, created_at=now
    )


@pytest.mark.parametrize(
    ("choice", "kind", "wait", "said"),
    [
        ({"frequency": "daily"}, KIND.CASE_TAKEN, 9 * HOUR, "the time of the recipient's daily digest"),
        ({}, KIND.DISABLED, GATHER_FOR, "It gathers with others of its kind"),
        ({}, KIND.CASE_UNHANDLED, DAY, "Nobody is reminded within a working day"),
    ],
)
def test_what_waits_for_its_moment_says_what_that_is(admin_client, ann, now, choice, kind, wait, said):
    Recipient.objects.update(**choice)
    of(ann, kind, now + wait, created_at=now)

    for page in seen(admin_client):
        assert said in page


def test_what_waits_for_the_end_of_the_quiet_hours_says_so(admin_client, ann, now):
    Recipient.objects.update(quiet_from=(now - HOUR).time(), quiet_until=(now + HOUR).time())
    of(ann, KIND.CASE_HANDED_OVER, now + HOUR, created_at=now)

    for page in seen(admin_client):
        assert "The recipient wants no email in the quiet hours" in page


@pytest.mark.parametrize(
    "fields",
    [
        {"due_at": None, "sent_at": timezone.now()},
        {"due_at": timezone.now() - HOUR},
        {"due_at": timezone.now() + HOUR, "attempt_count": 1, "error": "Nobody answers."},
    ],
)
def test_what_is_sent_or_due_or_tried_again_waits_for_nothing_else(admin_client, ann, fields):
    of(ann, KIND.CASE_TAKEN, **fields)
    Recipient.objects.update(frequency="daily")

    for page in seen(admin_client):
        assert "recipient's daily digest" not in page


def test_why_each_waits_takes_no_query_a_row(admin_client, ann, now):
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert admin_client.get(LIST).status_code == 200
        return len(asked)

    of(ann, KIND.CASE_TAKEN, now + HOUR)
    few = queries()
    for _ in range(5):
        of(ann, KIND.CASE_TAKEN, now + HOUR)

    assert queries() == few


def test_the_notice_of_a_contact_who_is_no_recipient_is_shown(admin_client, now):
    owner: Application = factories.application()
    Notice.objects.create(
        kind=KIND.FAILING, application=owner, email=owner.contacts[0], due_at=now + GATHER_FOR, created_at=now
    )

    for page in seen(admin_client):
        assert "It gathers with others of its kind" in page
