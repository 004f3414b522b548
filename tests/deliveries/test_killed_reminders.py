"""A worker process is killed in the middle of reminding: of two cases one is told again, the other nearly."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from deliveries.cases import occasion_of
from deliveries.models import Case, Delivery, Notice
from deliveries.publishing import publish
from tests.support import factories
from tests.support.cases import LINK, text_of
from tests.support.running import wait_for
from tests.support.smtp import mail_server
from tests.support.workers import Cluster

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

ANN = "ann@example.org"
REVOKED = "hosted_consent.revoked"
UNHANDLED = Notice.Kind.CASE_UNHANDLED


def told_a_week_ago() -> list[Case]:
    """Two cases that nobody has taken, the first due first."""
    owner = factories.application()
    factories.confirmed_emails(owner, [ANN])
    ago = timezone.now() - timedelta(days=7)
    for nth in range(2):
        event = publish(owner, REVOKED, factories.example(REVOKED))
        Case.objects.filter(pk=event.id).update(created_at=ago, remind_at=ago + timedelta(days=nth))
    Delivery.objects.update(status="succeeded", next_attempt_at=None, finished_at=ago)
    return [*Case.objects.order_by("remind_at")]


def is_stuck() -> bool:
    """Whether a sweep waits for this test before it can tell of the second case."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # which is kept for a transaction
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO \"deliveries_notice\"%%'"
        )
        return bool(cursor.fetchone()[0])


def reminded_of() -> list[str]:
    told = Notice.objects.filter(kind=UNHANDLED).order_by("id")
    return [occasion.partition(" ")[0] for occasion in told.values_list("occasion", flat=True)]


def test_each_case_is_told_again_exactly_once(tmp_path):
    first_case, second_case = told_a_week_ago()

    with mail_server() as mailbox:
        where = f"smtp://127.0.0.1:{settings.EMAIL_PORT}"
        with transaction.atomic():
            # Whoever tells of the same waits until it is known whether this is committed.
            assert second_case.remind_at
            occasion = occasion_of(second_case, second_case.remind_at)
            Notice.objects.create(
                application=second_case.application, kind=UNHANDLED, email=ANN, occasion=occasion, due_at=None
            )
            with Cluster(tmp_path, EMAIL_URL=where) as first:
                wait_for(lambda: is_stuck() and len(reminded_of()) == 2, 60, lambda: first.said)
                first.kill()
            transaction.set_rollback(True)
        wait_for(lambda: not is_stuck(), 60)
        assert reminded_of() == [str(first_case.id)]
        assert [case.remind_at is None for case in Case.objects.order_by("id")] == [True, False]

        with Cluster(tmp_path, EMAIL_URL=where) as second:
            wait_for(lambda: len(reminded_of()) == 2, 60, lambda: second.said)
            told = Notice.objects.filter(kind=UNHANDLED)
            told.update(due_at=timezone.now())  # they have gathered
            wait_for(lambda: not told.filter(sent_at=None).exists(), 60, lambda: second.said)

    assert reminded_of() == [str(first_case.id), str(second_case.id)]
    assert not Case.objects.filter(remind_at__isnull=False).exists()
    assert len(set(LINK.findall(text_of(mailbox.message())))) == 2
