from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from deliveries.lifecycle import pause
from deliveries.models import Delivery
from deliveries.publishing import (
    Change,
    IdempotencyConflict,
    ItemsRefused,
    UnknownEventType,
    publish,
    publish_many,
)
from events.models import Event
from events.payloads import PayloadRefused
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_every_matching_subscription_gets_a_delivery_that_is_due_now():
    owner = factories.application()
    wanted = [
        factories.webhook(owner, types=["meter.created"]),
        factories.webhook(owner),
        factories.confirmed_emails(owner),
    ]
    factories.webhook(owner, types=["user.created"])
    factories.webhook(factories.application("Another"))

    event = publish(owner, "meter.created", factories.example("meter.created"))

    deliveries = Delivery.objects.filter(event=event)
    assert {delivery.subscription for delivery in deliveries} == set(wanted)
    assert deliveries.due(timezone.now()).count() == 3


def test_a_paused_subscription_and_an_unconfirmed_recipient_have_their_deliveries_held():
    owner = factories.application()
    pause(factories.webhook(owner), timezone.now())
    factories.emails(owner)

    event = publish(owner, "user.created", factories.example("user.created"))

    assert [delivery.status for delivery in event.deliveries.all()] == ["held", "held"]


WEST = timezone.get_fixed_timezone(-5 * 60)


@pytest.mark.parametrize(
    "occurred_at",
    [
        datetime(2026, 11, 2),
        "2026-11-02T00:00:00Z",
        date(2026, 11, 2),
        datetime.max.replace(tzinfo=WEST),
        datetime.min.replace(tzinfo=timezone.get_fixed_timezone(60)),
    ],
)
@pytest.mark.parametrize("idempotency_key", [None, "a key"])
def test_a_moment_that_is_none_in_utc_is_refused_before_anything_is_written(occurred_at, idempotency_key):
    owner = factories.application()

    with pytest.raises(ValueError, match="occurred_at"):
        publish(owner, "user.created", factories.example("user.created"), occurred_at, idempotency_key)

    assert not Event.objects.exists()


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0b", "Zähler 7", " one", "one ", "one\n", 5, b"key"])
def test_an_idempotency_key_that_is_none_is_refused_before_anything_is_written(key):
    owner = factories.application()

    with pytest.raises(ValueError, match="idempotency key"):
        publish(owner, "user.created", factories.example("user.created"), idempotency_key=key)

    assert not Event.objects.exists()


def test_the_database_takes_no_moment_that_python_could_not_read():
    owner = factories.application()

    with pytest.raises(DatabaseError, match="event_occurred_at_is_readable"), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_event"
            " (id, application_id, type, occurred_at, created_at, payload, test, delivery_count)"
            " VALUES (gen_random_uuid(), %s, 'user.created', '10000-01-01 04:00+00', now(), '{}', false, 0)",
            [owner.id],
        )


def test_a_transaction_that_fails_leaves_nothing():
    owner = factories.application()
    factories.webhook(owner)

    def change_my_mind():
        with transaction.atomic():
            publish(owner, "user.created", factories.example("user.created"))
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()

    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


def test_the_payload_keeps_its_keys_in_their_order():
    payload = {
        "z": 1,
        "_id": "u1",
        "ä": [1.5, None, True],
        "name": "Zoë",
        "email": "z@example.org",
        "role": "x",
    }

    event = publish(factories.application(), "user.created", payload)

    event.refresh_from_db()
    assert event.payload == (
        '{"z":1,"_id":"u1","ä":[1.5,null,true],"name":"Zoë","email":"z@example.org","role":"x"}'
    )


def test_the_same_idempotency_key_returns_the_first_event():
    owner = factories.application()
    factories.webhook(owner)
    payload = factories.example("user.created")

    first = publish(owner, "user.created", payload, idempotency_key="import-7")
    second = publish(owner, "user.created", payload, idempotency_key="import-7")

    assert second == first
    assert Delivery.objects.count() == 1


def test_the_same_idempotency_key_for_something_else_is_refused():
    owner = factories.application()
    publish(owner, "user.created", factories.example("user.created"), idempotency_key="import-7")

    with pytest.raises(IdempotencyConflict, match="import-7"):
        publish(owner, "meter.created", factories.example("meter.created"), idempotency_key="import-7")

    assert Event.objects.count() == 1


def test_an_unknown_type_is_refused_with_the_known_ones():
    with pytest.raises(UnknownEventType, match=r"meter\.melted.*meter\.created"):
        publish(factories.application(), "meter.melted", {})


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"_id": "a\0b"}, "/_id"),
        ({"_id": "x", "notes": ["fine", "\ud800"]}, "/notes/1"),
        ({"_id": "x", "size": float("inf")}, "/size"),
        ({"_id": "x", "a/b~c": float("nan")}, "/a~1b~0c"),
        ({"_id": {1, 2}}, "/_id"),
        ({"_id": "x" * 1024 * 1024}, ""),
    ],
)
def test_a_payload_that_json_or_the_database_cannot_hold_is_refused_with_its_place(payload, pointer):
    with pytest.raises(PayloadRefused) as refused:
        publish(factories.application(), "user.created", payload)

    assert refused.value.errors[0].pointer == pointer
    assert not Event.objects.exists()


def test_a_batch_with_bad_items_publishes_nothing_and_names_each():
    owner = factories.application()
    good = Change(owner, "user.created", factories.example("user.created"))
    bad = Change(owner, "user.created", "no object")

    with pytest.raises(ItemsRefused) as refused:
        publish_many([good, bad, good, bad], timezone.now())

    assert list(refused.value.reasons) == [1, 3]
    assert not Event.objects.exists()


def test_a_batch_keeps_its_order_and_repeats_within_it_are_one_event():
    owner = factories.application()
    change = Change(owner, "user.created", factories.example("user.created"), idempotency_key="once")
    other = Change(owner, "meter.created", factories.example("meter.created"))

    published = publish_many([change, other, change], timezone.now())

    assert [one.event.type for one in published] == ["user.created", "meter.created", "user.created"]
    assert [one.replayed for one in published] == [False, False, True]
    assert Event.objects.count() == 2


def test_the_database_itself_refuses_to_change_or_delete_an_event():
    event = publish(factories.application(), "user.created", factories.example("user.created"))

    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        Event.objects.filter(pk=event.pk).update(type="other")
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        event.delete()


def test_an_event_says_when_it_happened_not_when_it_was_published():
    happened = datetime(2024, 5, 2, 12, 31, 26, 257000, tzinfo=UTC)

    event = publish(
        factories.application(), "user.created", factories.example("user.created"), occurred_at=happened
    )

    assert event.occurred_at == happened
    assert timezone.now() - event.created_at < timedelta(minutes=1)


def test_publishing_costs_the_same_number_of_queries_for_one_event_and_for_many(
    django_assert_max_num_queries,
):
    owner = factories.application()
    for _ in range(20):
        factories.webhook(owner)
    changes = [Change(owner, "user.created", factories.example("user.created"))] * 50

    with django_assert_max_num_queries(9):
        publish_many(changes, timezone.now())

    assert Delivery.objects.count() == 1000
