"""How many people one application asks in an hour whether they may be sent emails: it may have anybody's address."""

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from deliveries import lifecycle
from deliveries.mailing import send_notices
from deliveries.models import Notice
from tests.support import factories

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def three_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deliveries.notices.MOST_QUESTIONS_AN_HOUR", 3)


def asked(after: timedelta) -> int:
    """How many have been asked in all, so long from now."""
    send_notices(lambda: timezone.now() + after)
    return len(mail.outbox)


def addresses(name: str, count: int) -> list[str]:
    return [f"{name}{number}@example.org" for number in range(count)]


def test_what_is_beyond_the_hours_limit_is_asked_later_and_nobody_is_forgotten() -> None:
    factories.emails(factories.application(), addresses("ann", 7))

    assert [asked(0 * HOUR), asked(0.9 * HOUR), asked(1.1 * HOUR), asked(2.1 * HOUR)] == [3, 3, 6, 7]
    assert len({tuple(message.to) for message in mail.outbox}) == 7


def test_deleting_and_making_anew_asks_no_more_of_them() -> None:
    owner = factories.application()
    for name in ("ann", "ben", "cat"):
        lifecycle.delete_subscription(factories.emails(owner, addresses(name, 2)), timezone.now())
        factories.emails(owner, addresses(f"{name}-again", 2))
        send_notices(timezone.now)

    assert len(mail.outbox) == 3


def test_other_applications_are_not_held_up_and_neither_are_other_emails() -> None:
    owner = factories.application()
    factories.emails(owner, addresses("ann", 5))
    factories.emails(factories.application("Another"), addresses("ben", 2))
    Notice.objects.create(kind="recovered", application=owner, email="ops@example.org")

    due = Notice.objects.due(timezone.now())

    assert sorted(due.values_list("kind", flat=True)) == ["confirmation"] * 5 + ["recovered"]
