"""How often one application asks the same person: what is too much for a day is asked later, and not forgotten."""

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from deliveries.lifecycle import delete_subscription
from deliveries.mailing import send_notices
from deliveries.notices import MOST_QUESTIONS
from deliveries.suppressing import lift, suppress
from subscriptions.models import Recipient, Suppression
from tests.support import factories

pytestmark = pytest.mark.django_db

ANN = "ann@example.org"
DAY = timedelta(days=1)


def asked(after: timedelta) -> int:
    """How many have been asked in all, so long from now."""
    send_notices(lambda: timezone.now() + after)
    return len(mail.outbox)


def test_who_is_asked_too_often_for_one_day_is_asked_about_the_others_on_the_next() -> None:
    owner = factories.application()
    for _ in range(MOST_QUESTIONS + 3):
        factories.emails(owner, [ANN])

    assert [asked(0 * DAY), asked(0.9 * DAY), asked(1.1 * DAY)] == [5, 5, 8]
    assert len({str(message.body) for message in mail.outbox}) == 8


def test_what_was_deleted_before_it_was_asked_takes_no_place() -> None:
    owner = factories.application()
    for _ in range(2 * MOST_QUESTIONS):
        delete_subscription(factories.emails(owner, [ANN]), timezone.now())

    factories.emails(owner, [ANN])

    assert asked(0 * DAY) == 1


def test_who_is_allowed_again_is_asked_about_all_of_them_in_time() -> None:
    owner = factories.application()
    for _ in range(MOST_QUESTIONS + 3):
        factories.emails(owner, [ANN])
    suppress({ANN: "Gone."}, "mail server", timezone.now())
    assert asked(2 * DAY) == 0

    lift(Suppression.objects.get(), timezone.now())

    assert [asked(0 * DAY), asked(1.1 * DAY)] == [5, 8]
    assert {*Recipient.objects.values_list("status", flat=True)} == {"unconfirmed"}
