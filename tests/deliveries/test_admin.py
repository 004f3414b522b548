from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import mail
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from deliveries.lifecycle import delete_subscription, pause
from deliveries.models import Attempt, Delivery, Notice
from deliveries.publishing import publish
from events.models import Event
from subscriptions.models import Recipient, Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db

DELIVERIES = "/admin/deliveries/delivery/"
EVENTS = "/admin/events/event/"
SUBSCRIPTIONS = "/admin/subscriptions/subscription/"
RECIPIENTS = "/admin/subscriptions/recipient/"


def delivery(status: str = "pending") -> Delivery:
    """A delivery of a webhook, in the state that was asked for."""
    subscription = factories.webhook(factories.application())
    publish(subscription.application, "meter.created", factories.example("meter.created"))
    made = Delivery.objects.get(subscription=subscription)
    if status != "pending":
        Delivery.objects.filter(pk=made.pk).update(
            status=status, next_attempt_at=None, finished_at=timezone.now()
        )
        made.refresh_from_db()
    return made


def press(client: Client, url: str, action: str, *rows: Model, **more: str) -> str:
    """Choose rows in a list and an action; returns what the operator reads after it."""
    chosen = [str(row.pk) for row in rows]
    answer = client.post(url, {"action": action, "_selected_action": chosen, **more}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def operator(*permissions: str) -> Client:
    """Somebody of the staff who may do this and no more."""
    user = User.objects.create_user("operator", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_retry_now_makes_a_failed_delivery_due(admin_client: Client) -> None:
    failed = delivery("failed")

    told = press(admin_client, DELIVERIES, "retry", failed)

    failed.refresh_from_db()
    assert (failed.status, failed.retry_requested) == ("pending", True)
    assert failed.next_attempt_at
    assert failed.next_attempt_at <= timezone.now()
    assert "Due now: 1 delivery." in told


def test_what_is_refused_is_counted_and_explained_and_the_rest_is_done(admin_client: Client) -> None:
    failed, succeeded = delivery("failed"), delivery("succeeded")

    told = press(admin_client, DELIVERIES, "retry", failed, succeeded)

    succeeded.refresh_from_db()
    assert succeeded.status == "succeeded"
    assert "Due now: 1 delivery." in told
    assert "Refused: 1 delivery. This delivery has succeeded." in told


def test_cancel_ends_a_pending_delivery_and_refuses_a_finished_one(admin_client: Client) -> None:
    pending, failed = delivery(), delivery("failed")

    told = press(admin_client, DELIVERIES, "cancel", pending, failed)

    pending.refresh_from_db()
    assert pending.status == "cancelled"
    assert "Cancelled: 1 delivery." in told
    assert "only a pending or held one can be cancelled" in told


def test_replay_makes_a_new_delivery_of_an_old_event(admin_client: Client) -> None:
    old = delivery("succeeded")

    told = press(admin_client, EVENTS, "replay", old.event)

    assert Delivery.objects.filter(event=old.event, trigger="replay").count() == 1
    assert "Told again: 1 event." in told


def test_a_replay_that_nobody_wants_is_refused(admin_client: Client) -> None:
    old = delivery("succeeded")
    pause(old.subscription, timezone.now())

    told = press(admin_client, EVENTS, "replay", old.event)

    assert "No active subscription wants this event now." in told
    assert Delivery.objects.count() == 1


def test_pause_holds_deliveries_and_resume_lets_them_go(admin_client: Client) -> None:
    waiting = delivery()

    assert "Paused: 1 subscription." in press(admin_client, SUBSCRIPTIONS, "pause", waiting.subscription)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.subscription.status) == ("held", "paused")

    assert "Resumed: 1 subscription." in press(admin_client, SUBSCRIPTIONS, "resume", waiting.subscription)
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_resuming_an_active_subscription_does_not_hide_that_it_is_failing(admin_client: Client) -> None:
    subscription = factories.webhook(factories.application(), failing_since=timezone.now())

    told = press(admin_client, SUBSCRIPTIONS, "resume", subscription)

    subscription.refresh_from_db()
    assert subscription.failing_since is not None
    assert "The subscription is active already." in told


def test_send_test_makes_a_delivery_that_is_marked_as_a_test(admin_client: Client) -> None:
    subscription = factories.webhook(factories.application())

    told = press(admin_client, SUBSCRIPTIONS, "send_test", subscription)

    assert Delivery.objects.get(subscription=subscription).test
    assert Event.objects.get().test
    assert "Test sent to: 1 subscription." in told


def test_a_test_that_nobody_would_get_is_refused(admin_client: Client) -> None:
    subscription = factories.emails(factories.application())

    told = press(admin_client, SUBSCRIPTIONS, "send_test", subscription)

    assert "No recipient has confirmed the address yet" in told
    assert not Event.objects.exists()


def test_deleting_a_subscription_asks_first_and_keeps_its_history(admin_client: Client) -> None:
    waiting = delivery()
    subscription = waiting.subscription

    asked = press(admin_client, SUBSCRIPTIONS, "delete", subscription)
    assert Subscription.objects.existing().count() == 1
    assert "can&#x27;t be undone" in asked

    told = press(admin_client, SUBSCRIPTIONS, "delete", subscription, confirmed="1")
    waiting.refresh_from_db()
    assert "Deleted: 1 subscription." in told
    assert Subscription.objects.existing().count() == 0
    assert waiting.status == "cancelled"


@pytest.mark.parametrize("action", ["pause", "resume", "send_test", "delete"])
def test_a_deleted_subscription_is_left_alone(admin_client: Client, action: str) -> None:
    subscription = factories.webhook(factories.application())
    delete_subscription(subscription, timezone.now())

    told = press(admin_client, SUBSCRIPTIONS, action, subscription, confirmed="1")

    subscription.refresh_from_db()
    assert subscription.status == "active"
    assert "The subscription was deleted; only its history is left." in told


def test_send_confirmation_again_queues_another_email(admin_client: Client) -> None:
    recipient = factories.emails(factories.application()).recipients.get()

    told = press(admin_client, RECIPIENTS, "ask_again", recipient)

    assert Notice.objects.filter(recipient=recipient).count() == 2
    assert "Confirmation email queued for: 1 recipient." in told
    assert mail.outbox == []


def test_a_confirmed_recipient_is_not_asked_again(admin_client: Client) -> None:
    recipient = factories.confirmed_emails(factories.application()).recipients.get()

    told = press(admin_client, RECIPIENTS, "ask_again", recipient)

    assert Notice.objects.filter(recipient=recipient).count() == 1
    assert "only an unconfirmed one is asked" in told


def test_more_than_ten_rows_are_asked_about_first(admin_client: Client) -> None:
    owner = factories.application()
    rows = [factories.webhook(owner) for _ in range(11)]

    asked = press(admin_client, SUBSCRIPTIONS, "pause", *rows)
    assert "Pause: 11 subscriptions?" in asked
    assert not Subscription.objects.filter(status="paused").exists()
    assert all(f'value="{row.pk}"' in asked for row in rows)

    told = press(admin_client, SUBSCRIPTIONS, "pause", *rows, confirmed="1")
    assert "Paused: 11 subscriptions." in told
    assert Subscription.objects.filter(status="paused").count() == 11


def test_the_confirmation_keeps_a_choice_across_pages(admin_client: Client) -> None:
    owner = factories.application()
    rows = [factories.webhook(owner) for _ in range(60)]

    asked = press(admin_client, SUBSCRIPTIONS, "pause", rows[0], select_across="1")

    assert "Pause: 60 subscriptions?" in asked
    assert all(f'value="{row.pk}"' in asked for row in rows)


def test_an_action_takes_no_more_rows_than_it_can_finish(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.admin_actions.MOST_ROWS", 2)
    owner = factories.application()
    rows = [factories.webhook(owner) for _ in range(3)]

    told = press(admin_client, SUBSCRIPTIONS, "pause", *rows, confirmed="1")

    assert "Nothing was done: 2 rows at most at a time." in told
    assert not Subscription.objects.filter(status="paused").exists()


def test_a_button_acts_and_leads_back_to_its_own_page(admin_client: Client) -> None:
    failed = delivery("failed")
    page = reverse("admin:deliveries_delivery_change", args=[failed.pk])
    assert ">Retry now</button>" in admin_client.get(page).content.decode()

    answer = admin_client.post(
        DELIVERIES, {"action": "retry", "_selected_action": str(failed.pk), "from_page": "1"}, follow=True
    )

    assert answer.request["PATH_INFO"] == page
    assert "Due now: 1 delivery." in answer.content.decode()


def test_a_page_offers_only_what_is_possible(admin_client: Client) -> None:
    page = reverse("admin:deliveries_delivery_change", args=[delivery("succeeded").pk])

    content = admin_client.get(page).content.decode()

    assert "Retry now" not in content
    assert "Cancel" not in content


def test_buttons_want_a_csrf_token() -> None:
    failed = delivery("failed")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))

    answer = client.post(DELIVERIES, {"action": "retry", "_selected_action": str(failed.pk)})

    failed.refresh_from_db()
    assert answer.status_code == 403
    assert failed.status == "failed"


@pytest.mark.parametrize(
    ("url", "model", "action", "row"),
    [
        (DELIVERIES, "delivery", "retry", lambda: delivery("failed")),
        (EVENTS, "event", "replay", lambda: delivery("failed").event),
        (SUBSCRIPTIONS, "subscription", "pause", lambda: factories.webhook(factories.application())),
        (
            RECIPIENTS,
            "recipient",
            "ask_again",
            lambda: factories.emails(factories.application()).recipients.get(),
        ),
    ],
)
def test_who_may_only_look_can_not_act(url: str, model: str, action: str, row: Callable[[], Model]) -> None:
    made = row()
    page = f"{url}{made.pk}/change/"
    client = operator(f"view_{model}")

    told = press(client, url, action, made)

    assert "No action selected." in told or 'name="action"' not in told
    assert not LogEntry.objects.exists()
    assert '<button type="submit" class="button-' not in client.get(page).content.decode()


def test_who_may_change_deliveries_can_retry_them() -> None:
    failed = delivery("failed")

    told = press(operator("change_delivery"), DELIVERIES, "retry", failed)

    assert "Due now: 1 delivery." in told


def test_the_history_of_a_row_says_who_did_what(admin_client: Client) -> None:
    failed = delivery("failed")

    press(admin_client, DELIVERIES, "retry", failed)

    history = admin_client.get(reverse("admin:deliveries_delivery_history", args=[failed.pk]))
    assert "Due now." in history.content.decode()
    assert "admin" in history.content.decode()


def attempt(made: Delivery, **fields: object) -> Attempt:
    return Attempt.objects.create(
        delivery=made,
        number=1,
        trigger="scheduled",
        started_at=timezone.now(),
        duration_ms=12.5,
        outcome="failed",
        **fields,
    )


def test_a_delivery_shows_its_attempts_and_leads_up_and_down_the_road(admin_client: Client) -> None:
    made = delivery("failed")
    tried = attempt(made, error="The receiver answered 503.", status_code=503)

    content = admin_client.get(reverse("admin:deliveries_delivery_change", args=[made.pk])).content.decode()

    assert "The receiver answered 503." in content
    for row in (made.event, made.subscription, made.application, tried):
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        assert f'href="{reverse(name, args=[row.pk])}"' in content


def test_a_delivery_says_what_it_waits_for(admin_client: Client) -> None:
    made = delivery("held")
    Subscription.objects.filter(pk=made.subscription_id).update(status="paused")

    content = admin_client.get(reverse("admin:deliveries_delivery_change", args=[made.pk])).content.decode()

    assert "Its subscription is paused." in content


def test_an_attempt_shows_the_very_body_that_was_sent(admin_client: Client) -> None:
    made = delivery("failed")
    tried = attempt(made, timings={"dns_ms": 1.0, "tls_ms": None})

    content = admin_client.get(reverse("admin:deliveries_attempt_change", args=[tried.pk])).content.decode()

    assert f"&quot;delivery_id&quot;: &quot;{made.pk}&quot;" in content
    assert "&quot;event_id&quot;: &quot;meter.created&quot;" in content
    assert "dns 1 ms" in content


def test_an_attempt_shows_our_headers_and_hides_what_the_owner_added(admin_client: Client) -> None:
    sent = {"webhook-id": "the-id", "Authorization": "Bearer hush-1", "token": "hush-2"}
    tried = attempt(delivery("failed"), request_headers=sent)

    content = admin_client.get(reverse("admin:deliveries_attempt_change", args=[tried.pk])).content.decode()

    assert "webhook-id: the-id" in content
    assert "Authorization: (not shown)" in content
    assert "hush-" not in content


@pytest.mark.parametrize(
    "body", ["<script>alert(1)</script>", "[" * 16000, "9" * 9000, '{"a": NaN}', "\ufffd\u202e"]
)
def test_a_hostile_answer_is_shown_as_text(admin_client: Client, body: str) -> None:
    tried = attempt(delivery("failed"), response_body=body, response_headers={"x": "<b>"}, error="<i>no</i>")

    answer = admin_client.get(reverse("admin:deliveries_attempt_change", args=[tried.pk]))

    assert answer.status_code == 200
    assert "<script>alert" not in answer.content.decode()
    assert "<i>no</i>" not in answer.content.decode()
    assert "x: &lt;b&gt;" in answer.content.decode()


def test_secrets_and_header_values_of_a_subscription_are_on_no_page(admin_client: Client) -> None:
    subscription = factories.webhook(factories.application(), headers={"authorization": "Bearer hush-1"})
    secret = subscription.secrets.get().secret

    content = admin_client.get(
        reverse("admin:subscriptions_subscription_change", args=[subscription.pk])
    ).content.decode()

    assert "authorization" in content
    assert "hush-" not in content
    assert secret not in content
    assert secret.removeprefix("whsec_") not in content


def test_a_list_can_be_narrowed_down_to_what_is_due_in_flight_or_later(admin_client: Client) -> None:
    due, flying, later = delivery(), delivery(), delivery()
    now = timezone.now()
    Delivery.objects.filter(pk=flying.pk).update(leased_until=now + timedelta(minutes=1))
    Delivery.objects.filter(pk=later.pk).update(next_attempt_at=now + timedelta(hours=1))

    for name, expected in (("due", due), ("in_flight", flying), ("later", later)):
        content = admin_client.get(DELIVERIES, {"next": name}).content.decode()
        assert [row.pk for row in (due, flying, later) if f"{row.pk}/change/" in content] == [expected.pk]


def test_recipients_lead_to_their_deliveries(admin_client: Client) -> None:
    recipient: Recipient = factories.confirmed_emails(factories.application()).recipients.get()
    publish(recipient.subscription.application, "meter.created", factories.example("meter.created"))

    content = admin_client.get(DELIVERIES, {"recipient__id__exact": str(recipient.pk)}).content.decode()

    assert "1 delivery" in content
    assert "By recipient" in content
