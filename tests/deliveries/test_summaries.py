"""The weekly summary: who gets it, when, how often; what it counts; and how a contact ends it."""

import re
import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone

from accounts.models import Application
from deliveries import chores, summaries
from deliveries.channels.summary_wording import summary_wording
from deliveries.letters.charts import WIDTH, cells
from deliveries.letters.reader import Reader
from deliveries.mailing import send_notices
from deliveries.models import Attempt, Delivery, Notice
from deliveries.partitions import first_id
from deliveries.publishing import publish
from deliveries.summaries import end_of_week, facts, sum_up, sweep
from subscriptions.links import contact_id, contact_signer, summary_link
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.smtp import mail_server

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EIGHT = 8 * HOUR


@pytest.fixture
def monday() -> datetime:
    """One of the past, 00:00 UTC, on which the week ended that is told of."""
    return end_of_week(timezone.now() + 16 * HOUR) - 7 * DAY


@pytest.fixture
def owner(monday: datetime) -> Application:
    return wanting("Green Homes", monday)


def wanting(name: str, monday: datetime) -> Application:
    application = factories.application(name)
    application.weekly_summary, application.created_at = True, monday - 70 * DAY
    application.contacts = ["ann@example.org", "ben@example.org"]
    application.save()
    return application


def delivery(subscription: Subscription, at: datetime, status: str = "succeeded", **fields: Any) -> Delivery:
    """One that was made then, and has come to this."""
    event = publish(subscription.application, "user.created", factories.example("user.created"))
    made = Delivery.objects.get(event=event, subscription=subscription)
    return Delivery.objects.create(
        **{
            "id": UUID(int=first_id(at).int | secrets.randbits(60)),
            "application": made.application,
            "event": event,
            "subscription": subscription,
            "channel": made.channel,
            "event_type": event.type,
            "status": status,
            "next_attempt_at": at if status == "pending" else None,
            "created_at": at,
            **fields,
        }
    )


def attempt(tried: Delivery, duration_ms: float, number: int = 1) -> None:
    Attempt.objects.create(
        delivery=tried,
        number=number,
        trigger="scheduled",
        started_at=tried.created_at,
        duration_ms=duration_ms,
        outcome="succeeded",
    )


def told() -> list[tuple[str, str]]:
    return [*Notice.objects.filter(kind="summary").order_by("id").values_list("email", "occasion")]


def mailed(now: datetime) -> list[EmailMessage]:
    with mail_server() as mailbox:
        send_notices(lambda: now)
    return mailbox.messages()


def test_a_week_is_told_of_on_monday_at_eight_to_each_contact_once(owner: Application, monday: datetime):
    delivery(factories.webhook(owner), monday - DAY)

    assert sum_up(monday + EIGHT - timedelta(seconds=1)) == 1, "the week before it, in which nothing was sent"
    assert told() == []
    for later in (0 * HOUR, HOUR, 6 * DAY):
        sum_up(monday + EIGHT + later)

    week = (monday - 7 * DAY).isoformat()
    assert told() == [("ann@example.org", week), ("ben@example.org", week)]


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-02T07:59:59", "2026-10-26"),
        ("2026-11-02T08:00:00", "2026-11-02"),
        ("2026-11-08T23:59:59", "2026-11-02"),
        ("2026-11-09T08:00:00", "2026-11-09"),
        ("2027-01-04T08:00:00", "2027-01-04"),
    ],
)
def test_a_week_ends_on_monday(now: str, end: str):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)

    assert end_of_week(moment) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_after_an_outage_only_the_last_week_is_told_of(owner: Application, monday: datetime):
    webhook = factories.webhook(owner)
    for weeks in range(1, 4):
        delivery(webhook, monday - weeks * 7 * DAY + HOUR)

    sum_up(monday + 2 * DAY)

    assert {occasion for _, occasion in told()} == {(monday - 7 * DAY).isoformat()}


def test_who_does_not_want_it_and_who_had_nothing_to_send_gets_none(owner: Application, monday: datetime):
    delivery(factories.webhook(factories.application("Not asked for")), monday - DAY)
    new = wanting("New", monday)
    delivery(factories.webhook(new), monday - DAY)
    Application.objects.filter(pk=new.pk).update(created_at=monday + HOUR)

    sum_up(monday + EIGHT)

    assert told() == []
    owner.refresh_from_db()
    assert owner.summarized_until == monday


def test_a_week_without_deliveries_is_told_of_if_something_fails(owner: Application, monday: datetime):
    factories.webhook(owner, failing_since=monday - 30 * DAY, failure_count=9)

    sum_up(monday + EIGHT)

    assert len(told()) == 2


def test_each_day_says_what_became_of_its_own_notifications(owner: Application, monday: datetime):
    webhook, other = factories.webhook(owner), factories.webhook(wanting("Other", monday))
    start = monday - 7 * DAY
    delivery(webhook, start)
    delivery(webhook, start + DAY, "failed")
    delivery(webhook, start + DAY, "held")
    delivery(webhook, start + DAY, "pending")
    delivery(webhook, start + DAY, "cancelled")
    delivery(webhook, start + 6 * DAY + 23 * HOUR)
    delivery(webhook, start - timedelta(milliseconds=1), "failed")
    delivery(webhook, monday, "failed")
    delivery(webhook, start, trigger="test")
    delivery(webhook, start, elsewhere=True, replay=factories.replay(webhook))
    delivery(other, start)

    days = facts(owner, start)["days"]

    counts = [(day["delivered"], day["failed"], day["waiting"]) for day in days]
    assert counts == [(1, 0, 0), (0, 1, 2), *[(0, 0, 0)] * 4, (1, 0, 0)]
    assert [day["start"][:10] for day in days] == [f"{start + nth * DAY:%Y-%m-%d}" for nth in range(7)]
    assert not any(day["more"] for day in days)


def test_a_day_with_more_than_are_counted_says_so(
    owner: Application, monday: datetime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(summaries, "MOST_COUNTED", 2)
    webhook = factories.webhook(owner)
    for _ in range(4):
        delivery(webhook, monday - DAY)

    words = summary_wording(facts(owner, monday - 7 * DAY), "ann@example.org", owner)

    assert "of the first 2, 2 delivered" in words.text
    assert "only the first 2 were counted" in words.text
    assert words.subject == "Week at Green Homes: 2 or more delivered, none failed"


def test_the_slowest_receivers_come_first_with_the_times_of_half_and_of_nearly_all(
    owner: Application, monday: datetime
):
    quick = factories.webhook(owner, "https://quick.example/in?token=secret")
    slow = factories.webhook(owner, "https://slow.example/in?token=secret", description="CRM")
    for nth in range(1, 21):
        attempt(delivery(slow, monday - DAY), 100 * nth)
    attempt(delivery(quick, monday - DAY), 20)
    attempt(delivery(slow, monday), 60_000)

    found = facts(owner, monday - 7 * DAY)["slowest"]

    assert [(one["description"], one["median_ms"], one["p95_ms"], one["attempts"]) for one in found] == [
        ("CRM", 1000, 1900, 20),
        ("", 20, 20, 1),
    ]
    words = summary_wording(facts(owner, monday - 7 * DAY), "ann@example.org", owner)
    assert "CRM (slow.\u200bexample): half within 1.0 s, 95 of 100 within 1.9 s (20 attempts)" in words.text
    assert "95 of 100 within 20 ms (1 attempt)" in words.text
    assert "secret" not in words.text + words.html


def test_what_fails_is_named_with_since_when_and_what_is_disabled_too(owner: Application, monday: datetime):
    since = datetime(2026, 10, 29, 9, 12, tzinfo=UTC)
    factories.webhook(owner, "https://down.example/", description="CRM", failing_since=since, failure_count=9)
    factories.webhook(owner, "https://gone.example/", status="disabled")
    factories.webhook(owner, "https://paused.example/", status="paused", failing_since=since)

    words = summary_wording(facts(owner, monday - 7 * DAY), "ann@example.org", owner)

    assert words.subject == "Week at Green Homes: 2 receivers get nothing"
    assert "CRM (down.\u200bexample): every attempt has failed since 29 Oct 2026, 09:12 UTC" in words.text
    assert "gone.\u200bexample: disabled" in words.text
    assert "paused.example" not in words.text


def test_more_failing_ones_than_are_named_are_counted(owner: Application, monday: datetime):
    for _ in range(13):
        factories.webhook(owner, failing_since=monday, failure_count=9)

    words = summary_wording(facts(owner, monday - 7 * DAY), "ann@example.org", owner)

    assert "13 receivers" in words.subject
    assert "and 3 more" in words.text


def test_a_german_summary_writes_numbers_and_days_as_germans_do(owner: Application, monday: datetime):
    told = facts(owner, datetime(2026, 10, 26, tzinfo=UTC))
    told["days"][0]["delivered"] = 1204

    words = summary_wording(told, "ann@example.org", owner, Reader("America/New_York", "de"))

    assert words.subject == "Woche bei Green Homes: 1.204 zugestellt, keine gescheitert"
    assert "Mo 26. Okt.: 1.204 zugestellt" in words.text


def test_it_arrives_with_a_link_that_ends_it_and_one_click_for_mail_programs(
    owner: Application, monday: datetime
):
    delivery(factories.webhook(owner), monday - DAY)
    sum_up(monday + EIGHT)

    messages = mailed(monday + EIGHT)

    assert [message["to"] for message in messages] == ["ann@example.org", "ben@example.org"]
    assert messages[0]["subject"] == "Week at Green Homes: 1 delivered, none failed"
    link = summary_link(owner.id, "ann@example.org")
    assert messages[0]["list-unsubscribe"] == f"<{link}>"
    assert messages[0]["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    for part in ("plain", "html"):
        body = messages[0].get_body((part,))
        assert body is not None
        assert link in body.get_content()


def test_opening_the_link_changes_nothing_and_its_button_ends_it_for_this_contact_alone(
    owner: Application, monday: datetime
):
    delivery(factories.webhook(owner), monday - DAY)
    path = urlsplit(summary_link(owner.id, "ANN@example.org")).path
    client = Client()

    for method in ("get", "head"):
        assert getattr(client, method)(path).status_code == 200
    owner.refresh_from_db()
    assert owner.summary_ended_by == []

    assert "no more weekly summaries" in client.post(path).content.decode()
    assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    sum_up(monday + EIGHT)
    assert [email for email, _ in told()] == ["ben@example.org"]

    assert "End the weekly summary?" in client.post(path, {"again": "1"}).content.decode()
    owner.refresh_from_db()
    assert owner.summary_contacts == ["ann@example.org", "ben@example.org"]


def test_what_was_ended_turned_off_or_is_no_contact_any_more_is_not_sent(
    owner: Application, monday: datetime
):
    delivery(factories.webhook(owner), monday - DAY)
    owner.contacts = [*owner.contacts, "cy@example.org"]
    owner.save()
    off = wanting("Off", monday)
    delivery(factories.webhook(off), monday - DAY)
    sum_up(monday + EIGHT)
    Client().post(urlsplit(summary_link(owner.id, "ann@example.org")).path)
    Application.objects.filter(pk=owner.pk).update(contacts=["ann@example.org", "cy@example.org"])
    Application.objects.filter(pk=off.pk).update(weekly_summary=False)

    messages = mailed(monday + EIGHT)

    assert [message["to"] for message in messages] == ["cy@example.org"]
    assert {*Notice.objects.filter(sent_at=None).values_list("email", "error")} == {
        ("ann@example.org", "The contact has ended the weekly summary."),
        ("ben@example.org", "The address is no longer a contact of the application."),
        ("ann@example.org", "The application's weekly summary is turned off."),
        ("ben@example.org", "The application's weekly summary is turned off."),
    }


def test_a_link_of_another_contact_application_or_purpose_ends_nothing(owner: Application, monday: datetime):
    other = wanting("Other", monday)
    client = Client()
    mixed = contact_signer("summary").sign(owner.id.hex + contact_id(other.id, "ann@example.org").hex)
    unsigned = owner.id.hex + contact_id(owner.id, "ann@example.org").hex

    assert client.post(f"/contacts/summary/{unsigned}").status_code == 404
    assert client.post(f"/contacts/summary/{contact_signer('summary').sign('x')}").status_code == 404
    for token in (mixed, summary_link(owner.id, "eve@example.org").rpartition("/")[2]):
        assert "nothing to do" in client.post(f"/contacts/summary/{token}").content.decode()

    assert not Application.objects.exclude(summary_ended_by=[]).exists()


def test_the_page_is_for_nobody_else_and_keeps_to_the_policy(owner: Application):
    answer = Client().get(urlsplit(summary_link(owner.id, "ann@example.org")).path)

    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r" style=|<script| on\w+=", answer.content.decode())


def test_an_application_whose_summary_breaks_does_not_hold_up_the_others(
    owner: Application, monday: datetime, monkeypatch: pytest.MonkeyPatch
):
    delivery(factories.webhook(owner), monday - DAY)
    other = wanting("Other", monday)
    delivery(factories.webhook(other), monday - DAY)
    whole = summaries.facts

    def broken(application: Application, start: datetime) -> dict[str, Any]:
        if application == owner:
            raise DatabaseError("cut")
        return whole(application, start)

    monkeypatch.setattr(summaries, "facts", broken)
    sum_up(monday + EIGHT)
    assert {*Notice.objects.values_list("application_id", flat=True)} == {other.id}

    monkeypatch.setattr(summaries, "facts", whole)
    sum_up(monday + EIGHT)
    assert len(told()) == 4


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_tell_once(owner: Application, monday: datetime, monkeypatch: pytest.MonkeyPatch):
    delivery(factories.webhook(owner), monday - DAY)
    monkeypatch.setattr(chores, "earlier_clock", lambda: monday + EIGHT)
    together = threading.Barrier(2, timeout=30)

    def at_once() -> None:
        together.wait()
        sweep()
        sum_up(monday + EIGHT)
        connection.close()

    threads = [threading.Thread(target=at_once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told()) == 2


def plan(sql: str, params: dict[str, Any]) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", params)
        for (line,) in cursor.fetchall():
            yield line


@pytest.mark.usefixtures("no_dead_rows")
def test_what_is_counted_is_read_by_an_index(owner: Application, monday: datetime):
    """Also while the tables are small: what would be read as a whole is said to cost too much."""
    webhook = factories.webhook(owner)
    starts = summaries.bounds([monday - nth * DAY for nth in range(1, 8)])
    counted = starts | {"application": owner.id, "most": 3}
    slow = starts | {"subscriptions": [webhook.id], "most": 3, "slow": 3}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("SET LOCAL enable_sort = off")

    for sql, params in ((summaries.COUNTED, counted), (summaries.SLOW, slow)):
        lines = [*plan(sql, params)]
        assert not [line for line in lines if "Seq Scan" in line]
        assert [line for line in lines if "Index" in line and "deliveries_delivery" in line]


def test_a_bar_is_never_longer_than_its_room_and_shows_all_that_there_is():
    for parts in ({"full": 1000.0, "part": 1, "fail": 1}, {"full": 1, "fail": 1}, {"full": 0}):
        bar = cells(parts, 1002)
        assert len(bar) == WIDTH
        assert {cell for cell in bar if cell != "rest"} == {kind for kind, size in parts.items() if size}
