import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from deliveries.models import Case, Delivery, Heartbeat, Notice
from deliveries.publishing import publish
from events.models import Event
from openvolt_events.admin_front import front_page
from subscriptions.models import Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def workers_work() -> None:
    Heartbeat.objects.create(beat_at=timezone.now())


def deliver(subscription: Subscription, **changed: object) -> Delivery:
    """A delivery to the subscription, changed as the test needs it."""
    event = publish(subscription.application, "meter.created", factories.example("meter.created"))
    Delivery.objects.filter(event=event, subscription=subscription).update(**changed)
    return Delivery.objects.get(event=event, subscription=subscription)


def webhook() -> Subscription:
    return factories.webhook(factories.application())


def figures() -> dict[str, str]:
    return {figure.label: str(figure.value) for figure in front_page(timezone.now()).figures}


def problems() -> list[str]:
    return [problem.what.replace("\xa0", " ") for problem in front_page(timezone.now()).problems]


def test_nothing_is_stuck_while_workers_work_and_nothing_waits(admin_client: Client) -> None:
    content = admin_client.get("/admin/").content.decode()

    assert "Nothing is stuck." in content
    assert "Something is stuck." not in content


def test_what_became_due_a_moment_ago_is_not_stuck() -> None:
    deliver(webhook())

    assert problems() == []
    assert figures()["Due now"] == "1"


def test_a_delivery_that_waits_too_long_is_stuck(admin_client: Client) -> None:
    late = deliver(webhook(), next_attempt_at=timezone.now() - timedelta(minutes=20))

    content = admin_client.get("/admin/").content.decode()

    assert "Something is stuck." in content
    assert "A delivery to “http://127.0.0.1:9/” of Green Homes has been due since" in content
    assert "(20 minutes ago)" in content.replace("\xa0", " ")
    assert "start more workers" in content
    assert content.count(f'href="/admin/deliveries/delivery/{late.pk}/change/"') == 2


def test_a_delivery_that_is_under_way_or_due_later_is_not_stuck() -> None:
    now = timezone.now()
    deliver(webhook(), next_attempt_at=now - timedelta(hours=1), leased_until=now + timedelta(seconds=20))
    deliver(webhook(), next_attempt_at=now + timedelta(hours=1))

    assert problems() == []
    assert (figures()["Due now"], figures()["In flight"]) == ("0", "1")


def test_a_delivery_whose_worker_died_is_due_again() -> None:
    now = timezone.now()
    deliver(webhook(), next_attempt_at=now - timedelta(hours=1), leased_until=now - timedelta(seconds=20))

    assert len(problems()) == 1
    assert (figures()["Due now"], figures()["In flight"]) == ("1", "0")


def test_workers_that_stopped_are_named_in_plain_words(admin_client: Client) -> None:
    Heartbeat.objects.update(beat_at=timezone.now() - timedelta(minutes=12))

    content = admin_client.get("/admin/").content.decode()

    assert "No worker has worked since" in content
    assert "12 minutes ago" in content.replace("\xa0", " ")
    assert "Look at the log of the workers, and start them again." in content


def test_workers_that_never_worked_are_named_too() -> None:
    Heartbeat.objects.all().delete()

    assert problems() == ["No worker has worked yet. Nothing is sent until one does."]


def test_a_notice_that_waits_too_long_is_stuck() -> None:
    factories.emails(factories.application())
    Notice.objects.update(due_at=timezone.now() - timedelta(hours=2), error="The mail server is busy.")

    [problem] = front_page(timezone.now()).problems
    assert "An email of our own to ann@example.org, for Green Homes, has been due since" in problem.what
    assert "(2 hours ago)" in problem.what.replace("\xa0", " ")
    assert problem.todo == "Look at the mail server. It said: The mail server is busy."
    assert problem.url == f"/admin/deliveries/notice/{Notice.objects.get().pk}/change/"


def test_what_nobody_is_on_is_counted_with_how_long_it_has_been_so() -> None:
    owner = factories.application()
    factories.confirmed_emails(owner)
    publish(owner, "hosted_consent.revoked", factories.example("hosted_consent.revoked"))
    Case.objects.update(created_at=timezone.now() - timedelta(hours=3))

    [figure] = [one for one in front_page(timezone.now()).figures if one.label == "Cases open"]
    assert str(figure.value) == "1"
    assert "the oldest for 3 hours" in figure.note.replace("\xa0", " ")

    Case.objects.update(state="taken", taken_by="ann@example.org", taken_at=timezone.now())
    assert figures()["Cases open"] == "0"


def failing_for(age: timedelta, **fields: object) -> Subscription:
    """A subscription that has failed for so long."""
    subscription, now = webhook(), timezone.now()
    values = {"failing_since": now - age, "last_error": "The receiver hung up."} | fields
    Subscription.objects.filter(pk=subscription.pk).update(**values)
    subscription.refresh_from_db()
    return subscription


def test_a_failing_subscription_is_listed_with_all_that_is_known_of_it(admin_client: Client) -> None:
    subscription = failing_for(timedelta(minutes=5))
    assert front_page(timezone.now()).complaints == []

    content = admin_client.get("/admin/").content.decode()

    assert "Nothing is stuck." in content
    assert "The receiver hung up." in content
    assert "Its contacts are told when it has failed for an hour." in content
    assert "(in 4 days), unless an attempt succeeds" in content.replace("\xa0", " ")
    assert f'href="/admin/subscriptions/subscription/{subscription.pk}/change/"' in content
    assert f'href="/admin/accounts/application/{subscription.application_id}/change/"' in content
    assert f"subscription__id__exact={subscription.pk}&amp;status__exact=pending" in content


def test_who_is_failing_for_long_is_named_with_its_application(admin_client: Client) -> None:
    failing_for(timedelta(hours=3))

    content = admin_client.get("/admin/").content.decode()

    assert "Nothing is stuck here, but a receiver is not answering as it should." in content
    assert "Every attempt to tell “http://127.0.0.1:9/” of Green Homes has failed since" in content
    assert "(3 hours ago)" in content.replace("\xa0", " ")
    assert "Its contacts have not been told." in content


def test_the_front_page_says_when_a_subscription_is_to_be_disabled_and_who_knows() -> None:
    now = timezone.now()
    told = failing_for(timedelta(days=4), disable_at=now + timedelta(hours=20, minutes=1))
    Subscription.objects.update(told_failing_since=told.failing_since)

    [row] = front_page(now).failing

    assert f"Disabled on {now + timedelta(hours=20, minutes=1):%d %b %Y %H:%M}" in row.end
    assert "(in 20 hours)" in row.end.replace("\xa0", " ")
    assert row.knows == "Its contacts were told."


def test_an_application_without_contacts_is_pointed_out() -> None:
    subscription = failing_for(timedelta(hours=2))
    subscription.application.contacts = []
    subscription.application.save()

    assert front_page(timezone.now()).failing[0].knows == "Nobody is told: the application has no contacts."


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_what_is_not_tried_any_more_is_no_complaint(status: str) -> None:
    failing_for(timedelta(days=1), status=status)

    shown = front_page(timezone.now())

    assert (shown.complaints, shown.failing) == ([], [])
    assert figures()["Failing subscriptions"] == "0"
    assert figures()["Disabled subscriptions"] == str(int(status == "disabled"))


def test_who_may_not_act_is_shown_no_button(client: Client) -> None:
    failing_for(timedelta(hours=3))
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.groups.set(Group.objects.filter(name="viewer"))
    client.force_login(viewer)

    content = client.get("/admin/").content.decode()

    assert "The receiver hung up." in content
    assert "Send test" not in content


def test_a_deleted_subscription_is_not_failing() -> None:
    webhook()
    now = timezone.now()
    Subscription.objects.update(failing_since=now - timedelta(days=1), deleted_at=now)

    assert front_page(now).failing == []
    assert front_page(now).complaints == []


def test_held_and_failed_deliveries_are_counted_and_nothing_is_stuck() -> None:
    now = timezone.now()
    deliver(webhook(), status="held", next_attempt_at=None)
    deliver(webhook(), status="failed", next_attempt_at=None, finished_at=now)
    deliver(webhook(), status="failed", next_attempt_at=None, finished_at=now - timedelta(days=2))

    assert (figures()["Held"], figures()["Failed for good"]) == ("1", "1")
    assert problems() == []


def test_each_figure_leads_to_the_rows_that_it_counts(admin_client: Client) -> None:
    now = timezone.now()
    deliver(webhook(), next_attempt_at=now - timedelta(minutes=1))
    deliver(webhook(), leased_until=now + timedelta(minutes=1))
    deliver(webhook(), status="held", next_attempt_at=None)
    deliver(webhook(), status="failed", next_attempt_at=None, finished_at=now)
    Subscription.objects.filter(pk=webhook().pk).update(failing_since=now)
    Subscription.objects.filter(pk=webhook().pk).update(status="disabled")
    factories.emails(factories.application())
    event = Event.objects.first()
    assert event is not None
    Case.objects.create(
        id=event.id, event=event, application=event.application, kind="hosted_consent.revoked"
    )

    for figure in front_page(timezone.now()).figures:
        if figure.url and "/change/" not in figure.url:
            content = admin_client.get(figure.url).content.decode()
            assert str(figure.value) == "1"
            assert len(re.findall(r"<th class=\"field-", content)) == 1


def test_figures_stop_counting_where_it_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openvolt_events.admin_front.MOST_COUNTED", 2)
    subscription = webhook()
    for _ in range(3):
        deliver(subscription)

    assert figures()["Due now"] == "2+"


def test_who_may_not_see_deliveries_sees_no_figures(client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))

    content = client.get("/admin/").content.decode()

    assert "stuck." not in content
    assert "Due now" not in content


def test_what_waits_for_a_worker_is_found_behind_a_failing_receivers_backlog_without_reading_it() -> None:
    now = timezone.now()
    failing = failing_for(timedelta(hours=2))
    backlog = [deliver(failing, next_attempt_at=now - timedelta(hours=1))]
    Delivery.objects.bulk_create(
        Delivery(
            application=failing.application,
            event=backlog[0].event,
            event_type="meter.created",
            subscription=failing,
            channel="webhook",
            next_attempt_at=now - timedelta(hours=1),
        )
        for _ in range(2000)
    )
    late = deliver(webhook(), next_attempt_at=now - timedelta(minutes=10))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deliveries_delivery")

    with CaptureQueriesContext(connection) as captured:
        [problem] = front_page(now).problems

    assert problem.url == f"/admin/deliveries/delivery/{late.pk}/change/"
    looks = [
        query["sql"]
        for query in captured
        if "next_attempt_at" in query["sql"] and "COUNT(" not in query["sql"]
    ]
    assert looks
    for look in looks:
        assert rows_read(look) < 100, look


def rows_read(statement: str) -> int:
    """Of the table of deliveries, with those that a filter left out."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.replace('%', '%%')}")
        [[document]] = cursor.fetchall()
    document = json.loads(document) if isinstance(document, str) else document
    parts = [
        one for one in nodes(document[0]["Plan"]) if "deliveries_delivery" in one.get("Relation Name", "")
    ]
    return sum(
        one["Actual Loops"] * (one["Actual Rows"] + one.get("Rows Removed by Filter", 0)) for one in parts
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_a_figure_that_takes_the_database_too_long_is_said_not_to_be_known(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asleep(*_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr("openvolt_events.admin_front.LONGEST_LOOK", timedelta(milliseconds=100))
    monkeypatch.setattr("openvolt_events.admin_front.count_up_to", asleep)
    monkeypatch.setattr("openvolt_events.admin_front.longest_due", asleep)

    content = admin_client.get("/admin/").content.decode()

    assert "Nothing is stuck." not in content
    assert "For how long deliveries have waited for a worker is not known" in content
    assert figures()["Held"] == "not known: the database took longer than 0.1 s"


def test_the_front_page_does_not_hide_other_faults_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr("openvolt_events.admin_front.count_up_to", broken)

    with pytest.raises(OperationalError, match="lost"):
        front_page(timezone.now())
