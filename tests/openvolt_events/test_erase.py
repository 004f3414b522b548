"""manage.py erase: what events say of a customer goes; that they happened, and what was done, stays."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import Application, AuditEntry
from deliveries import erasing
from deliveries.dispatch import drain
from deliveries.erasing import erase, erasure
from deliveries.failing import Lost, facts
from deliveries.ledger import faults
from deliveries.lifecycle import NotPossible, delete_subscription, pause, replay, retry
from deliveries.models import Attempt, Delivery, MailEvent, Notice, Replay
from deliveries.publishing import publish
from deliveries.replaying import plan, start, step
from events.models import Event
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.api import Api, problem_of
from tests.support.receivers import RawReceiver, say

pytestmark = pytest.mark.django_db

CUSTOMER, OTHER = "65a0e9b1c6d83f20a7b94e01", "65a0e9b1c6d83f20a7b94e02"
NAME = "Hawthorn Bakery"
DAY = timedelta(days=1)


@pytest.fixture
def owner() -> Application:
    owner = factories.application()
    factories.webhook(owner)
    return owner


def consent(owner: Application, customer: str = CUSTOMER, **more: object) -> Event:
    payload = {"_id": "65b2c4d1e8f05a42b9d16e30", "customer_id": customer, "description": NAME, **more}
    return publish(owner, "hosted_consent.approved", payload)


def attempt(event: Event, outcome: str = "failed") -> Delivery:
    """Its delivery, after an attempt that came to this."""
    delivery = Delivery.objects.get(event=event)
    Attempt.objects.create(
        delivery=delivery,
        number=1,
        trigger="scheduled",
        started_at=timezone.now(),
        duration_ms=12.5,
        timings={"dns_ms": 1.25},
        outcome=outcome,
        status_code=200 if outcome == "succeeded" else 500,
        request_headers={"Subject": f"Consent of {NAME}"},
        response_headers={"x-customer": NAME},
        response_body=f"thank you, {NAME}",
        error="" if outcome == "succeeded" else "The receiver answered 500.",
    )
    finished = {"next_attempt_at": None, "finished_at": timezone.now()}
    Delivery.objects.filter(pk=delivery.pk).update(status=outcome, attempt_count=1, **finished)
    delivery.refresh_from_db()
    return delivery


def run(owner: Application, customer: str = CUSTOMER, *more: str) -> str:
    said = StringIO()
    call_command("erase", *more, application=owner.id, customer=customer, stdout=said)
    return said.getvalue()


def everything_stored() -> str:
    """Each row of each table of ours, as text."""
    tables = [name for name in connection.introspection.table_names() if name.split("_")[0] in FLOORS]
    with connection.cursor() as cursor:
        found = []
        for table in tables:
            cursor.execute(f"SELECT coalesce(string_agg(to_jsonb(row)::text, ' '), '') FROM {table} AS row")
            found.append(cursor.fetchone()[0])
    return " ".join(found)


FLOORS = {"accounts", "events", "subscriptions", "deliveries", "django"}


def test_nothing_of_the_customer_is_stored_any_more(owner):
    attempt(consent(owner))
    attempt(publish(owner, "customer.created", {"_id": CUSTOMER, "name": NAME, "email": "a@bakery.example"}))
    assert NAME in everything_stored()

    said = run(owner)

    assert "Blanked 2 events and 2 attempts; cancelled 0 deliveries." in said
    left = everything_stored()
    assert not [text for text in (CUSTOMER, NAME, "bakery.example") if text in left]


def test_nothing_is_left_in_what_became_of_telling_of_it_either(owner):
    """A replay, an order by the customer, an email that came back, a failing subscription that its contacts hear of."""
    event, now = consent(owner), timezone.now()
    subscription = factories.webhook(
        owner, ordered=True, ordering_key="/customer_id", failing_since=now - DAY
    )
    emails = factories.confirmed_emails(owner)
    start(plan(subscription, since=now - DAY, until=now + DAY, only="missed", now=timezone.now()))
    job = Replay.objects.get()
    step(job.id, subscription.id, now + timedelta(minutes=1))
    replay(event, [emails.id], now)
    told = Delivery.objects.get(subscription=emails)
    MailEvent.objects.create(
        delivery=told,
        email="ann@example.org",
        kind="bounced",
        at=now,
        description=f"Consent of {NAME}",
        key="1",
    )
    Notice.objects.create(
        kind="failing", application=owner, email="ops@example.org", subscription=subscription,
        facts=facts(subscription, 1, Lost(0, None), now),
    )  # fmt: skip
    assert job.deliveries.exclude(ordering_key=None).exists()

    run(owner)

    left = everything_stored()
    assert not [text for text in (CUSTOMER, NAME) if text in left]
    assert MailEvent.objects.get().kind == "bounced"
    assert set(Delivery.objects.values_list("status", flat=True)) == {"cancelled"}


def test_a_filter_that_names_the_customer_stays_with_its_owner_and_that_of_a_deleted_subscription_goes(owner):
    filter = {"/customer_id": [OTHER, CUSTOMER]}
    used, deleted = factories.webhook(owner, filter=filter), factories.webhook(owner, filter=filter)
    foreign = factories.webhook(factories.application("Other"), filter=filter)
    longer = factories.webhook(owner, filter={"/customer_id": [f"{CUSTOMER}f"]})
    delete_subscription(deleted, timezone.now())

    said = run(owner)

    lines = [line for line in said.splitlines() if "filter" in line]
    assert lines == [
        f"The filter of the subscription {used.id} names the customer: have its owner change it."
    ]
    filters = dict(Subscription.objects.exclude(filter={}).values_list("id", "filter"))
    assert filters == {used.id: filter, foreign.id: filter, longer.id: longer.filter}


def test_that_it_happened_and_was_told_stays_and_the_ledger_with_it(owner):
    event = consent(owner)
    delivery = attempt(event, "succeeded")
    before = Attempt.objects.values().get()

    run(owner)

    after, kept = Event.objects.get(), Attempt.objects.values().get()
    assert (after.id, after.type, after.occurred_at) == (event.id, event.type, event.occurred_at)
    blanked = {"request_headers": {}, "response_headers": {}, "response_body": ""}
    assert kept == {**before, **blanked}
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempt_count) == ("succeeded", 1)
    assert [str(fault) for fault in faults() if "sequence number" not in str(fault)] == []


@pytest.mark.parametrize(
    ("payload", "is_meant"),
    [
        ({"customer_id": CUSTOMER}, True),
        ({"customer_id": OTHER, "note": f"moved from {CUSTOMER}."}, True),
        ({"customer_id": OTHER, "seen": {CUSTOMER: True}}, True),
        ({"customer_id": OTHER, "of": ["x", [CUSTOMER]]}, True),
        ({"customer_id": OTHER}, False),
        ({"customer_id": f"{CUSTOMER}f"}, False),
        ({"customer_id": f"a{CUSTOMER}"}, False),
        ({"customer_id": CUSTOMER.upper()}, False),
    ],
)
def test_what_mentions_the_customer_is_found_wherever_it_stands_and_nothing_else(owner, payload, is_meant):
    publish(owner, "hosted_consent.approved", {"_id": "x", **payload})

    run(owner)

    assert Event.objects.get().is_erased == is_meant


@pytest.mark.parametrize(
    ("customer", "says"),
    [
        ("1234567", "too short"),
        ("b\udce4ckerei", "not UTF-8"),  # as Python has bytes of a command line that are none
        ("x" * 1001, "has 1001 characters"),
        ("x" * 100_000, "has 100000 characters"),
    ],
    ids=["short", "bytes", "long", "very long"],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["", "dry"])
def test_what_can_not_be_looked_for_is_refused_in_one_line(owner, customer, says, more):
    with pytest.raises(CommandError, match=says) as refused:
        run(owner, customer, *more)

    line = str(refused.value)
    assert "\n" not in line
    assert len(line.encode()) < 300
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("customer", ["ä%" * 500, "\\" * 1000], ids=["letters", "signs"])
def test_what_is_looked_for_may_be_long(owner, customer):
    meant = consent(owner, customer)

    run(owner, customer)

    assert Event.objects.get(pk=meant.pk).is_erased


@pytest.mark.parametrize("customer", ["a.*bakery+(x)|y", 'the "bakery"\\', "Bäckerei Weiß", "%_%_%_%_%"])
def test_what_is_looked_for_is_taken_as_it_is(owner, customer):
    meant = consent(owner, customer)
    other = consent(owner, "aXXbakery or another")

    run(owner, customer)

    assert Event.objects.get(pk=meant.pk).is_erased
    assert not Event.objects.get(pk=other.pk).is_erased


def test_other_applications_keep_what_they_have(owner):
    foreign = factories.application("Other")
    factories.webhook(foreign)
    theirs = consent(foreign)
    attempt(theirs)

    run(owner)

    assert not Event.objects.get(pk=theirs.pk).is_erased
    assert Attempt.objects.get().response_body


@pytest.mark.parametrize("state", ["pending", "held", "in flight"])
def test_what_is_still_to_be_sent_is_cancelled_also_from_a_workers_hands(owner, state):
    event = consent(owner)
    if state == "held":
        pause(owner.subscriptions.get(), timezone.now())
    if state == "in flight":
        Delivery.objects.update(leased_until=timezone.now() + timedelta(hours=1), lease_id=event.id)

    assert "cancelled 1 deliveries" in run(owner)

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.lease_id, delivery.next_attempt_at) == ("cancelled", None, None)
    assert list(faults()) == []


def test_where_a_receiver_redirected_to_is_blanked_too(owner):
    location = f"https://shop.example/customers/{CUSTOMER}?email=ann@bakery.example"
    with RawReceiver(say(f"HTTP/1.1 302 Found\r\nlocation: {location}\r\n\r\n".encode())) as receiver:
        owner.subscriptions.update(url=receiver.url)
        consent(owner)
        drain("webhook")
    assert "bakery.example" in everything_stored()

    run(owner)

    left = everything_stored()
    assert not [text for text in (CUSTOMER, "bakery.example") if text in left]
    assert "points to https://shop.example/…" in Attempt.objects.get().error
    assert "points to https://shop.example/…" in Subscription.objects.get().last_error


def test_what_was_erased_is_told_to_nobody_again(owner):
    event = consent(owner)
    failed = attempt(event)
    run(owner)
    event.refresh_from_db()

    with pytest.raises(NotPossible, match="was erased"):
        retry(failed, timezone.now())
    with pytest.raises(NotPossible, match="was erased"):
        replay(event, None, timezone.now())


def test_the_api_says_so_and_shows_an_event_without_a_payload(owner):
    event = consent(owner)
    delivery = attempt(event)
    run(owner)
    api = Api(factories.application_key(owner))

    assert api.get(f"/v1/events/{event.id}").json()["payload"] is None
    shown = api.get(f"/v1/deliveries/{delivery.id}").json()
    assert NAME not in json.dumps(shown)
    assert shown["attempts"][0]["error"] == "The receiver answered 500."
    assert (shown["attempts"][0]["request_body"], shown["attempts"][0]["request_truncated"]) == ("", False)
    assert "was erased" in problem_of(api.post(f"/v1/deliveries/{delivery.id}/retry"), 409)["detail"]


def test_an_attempt_that_was_under_way_is_blanked_by_the_next_run(owner):
    event = consent(owner)
    run(owner)
    attempt(event)

    assert "Blanked 0 events and 1 attempts" in run(owner)
    assert NAME not in everything_stored()


def test_it_goes_through_all_events_whatever_the_batch(owner, monkeypatch):
    monkeypatch.setattr(erasing, "BATCH", 2)
    for _ in range(5):
        consent(owner)

    assert "Blanked 5 events" in run(owner)


def test_a_dry_run_counts_and_changes_nothing(owner):
    consent(owner)

    assert run(owner, CUSTOMER, "--dry-run") == "1 events mention the customer. Nothing was changed.\n"
    assert not Event.objects.get().is_erased
    assert not AuditEntry.objects.exists()


def test_it_is_in_the_audit_log_without_the_customer(owner):
    consent(owner)

    run(owner)

    entries = AuditEntry.objects.order_by("id")
    assert [entry.action for entry in entries] == [
        "customer.erasure_begun",
        "delivery.cancelled",
        "customer.erased",
    ]
    assert all(entry.actor.startswith("manage.py erase, ") for entry in entries)
    done = entries.last()
    assert done is not None
    assert (done.application, done.after["events"], done.after["cancelled"]) == (owner, 1, 1)
    assert CUSTOMER not in json.dumps([entry.after for entry in entries])


@pytest.mark.parametrize("customer", ["1", "65a0e9b", "       1       "])
def test_what_would_be_found_everywhere_is_refused(owner, customer):
    with pytest.raises(CommandError, match="too short"):
        run(owner, customer)


def test_an_application_that_is_not_there_is_refused():
    with pytest.raises(CommandError, match="There is no application"):
        call_command("erase", application="019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4", customer=CUSTOMER)


EVENT, ATTEMPT = "events_event", "deliveries_attempt"


@pytest.mark.parametrize(
    ("table", "change"),
    [
        (EVENT, "payload = '{}'"),
        (EVENT, "payload = ''"),
        (EVENT, "type = 'meter.created'"),
        (EVENT, "payload = 'null', occurred_at = now()"),
        (ATTEMPT, "response_body = ''"),
        (ATTEMPT, "response_body = 'better', response_headers = '{}', request_headers = '{}'"),
        (
            ATTEMPT,
            "response_body = '', response_headers = '{}', request_headers = '{}', outcome = 'succeeded'",
        ),
        (ATTEMPT, "error = ''"),
    ],
)
def test_an_erasure_may_blank_and_change_nothing_else(owner, table, change):
    attempt(consent(owner))

    with (
        pytest.raises(IntegrityError, match="never changed"),
        transaction.atomic(),
        erasure(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"UPDATE {table} SET {change}")


@pytest.mark.parametrize("table", [EVENT, ATTEMPT])
def test_an_erasure_may_delete_nothing(owner, table):
    attempt(consent(owner))

    with pytest.raises(IntegrityError), transaction.atomic(), erasure(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {EVENT} SET payload = 'null'",
        f"UPDATE {ATTEMPT} SET response_body = '', response_headers = '{{}}', request_headers = '{{}}'",
    ],
)
def test_outside_of_an_erasure_not_even_blanking_is_possible(owner, statement):
    attempt(consent(owner))
    erase(owner, OTHER, timezone.now())

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
