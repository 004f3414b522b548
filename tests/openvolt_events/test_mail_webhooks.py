"""What email providers tell of emails: who is believed, what is kept, and who gets nothing more."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, User
from deliveries.lifecycle import NotPossible, change_subscription, confirm_recipient, unsubscribe_recipient
from deliveries.models import Delivery, MailEvent, Notice
from deliveries.publishing import publish
from deliveries.suppressing import lift, suppress
from deliveries.tracking import SOFT_BOUNCES, forget_mail_events
from subscriptions.models import Recipient, Suppression
from tests.support import factories
from tests.support.api import Api
from tests.support.mail_webhooks import AUTHORIZATION, PASSWORD, PAYLOADS, SIGNING_KEY

pytestmark = pytest.mark.django_db

ANN = "ann@example.org"
PROVIDERS = sorted(PAYLOADS)


@pytest.fixture(autouse=True)
def listening(settings) -> None:
    settings.EMAIL_WEBHOOK_PROVIDERS = PROVIDERS
    settings.ANYMAIL = {"WEBHOOK_SECRET": [PASSWORD], "MAILGUN_WEBHOOK_SIGNING_KEY": SIGNING_KEY}


def post(provider: str, body: bytes, headers: dict[str, str], authorization: str = AUTHORIZATION) -> Any:
    sent = {**headers, **({"authorization": authorization} if authorization else {})}
    return Client().generic(
        "POST",
        f"/anymail/{provider}/tracking/",
        body,
        content_type=sent.pop("content-type"),
        headers=sent,
    )


def tell(provider: str, kind: str, email: str, id: object, **more: Any) -> int:
    return post(provider, *PAYLOADS[provider](kind, email, id, **more)).status_code


def sent_email(email: str = ANN) -> Delivery:
    """An email that a mail server has accepted, and one more that waits."""
    owner = factories.application()
    factories.confirmed_emails(owner, [email])
    publish(owner, "meter.created", factories.example("meter.created"))
    publish(owner, "meter.created", factories.example("meter.created"))
    sent = Delivery.objects.filter(recipient__email=email).order_by("id").first()
    assert sent
    Delivery.objects.filter(pk=sent.pk).update(
        status="succeeded", next_attempt_at=None, finished_at=timezone.now()
    )
    return sent


@pytest.mark.parametrize("kind", ["bounced", "complained"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_hard_bounce_or_a_complaint_ends_all_emails_to_the_address(provider, kind):
    delivery = sent_email()

    assert tell(provider, kind, ANN.upper(), delivery.id) == 200

    event = MailEvent.objects.get()
    suppression = Suppression.objects.get()
    assert (event.delivery_id, event.kind, event.email) == (delivery.id, kind, ANN)
    assert (suppression.email, suppression.is_standing) == (ANN, True)
    assert suppression.reason
    assert Recipient.objects.get().status == "suppressed"
    assert sorted(Delivery.objects.values_list("status", flat=True)) == ["cancelled", "succeeded"]


@pytest.mark.parametrize("kind", ["delivered", "soft_bounced"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_else_becomes_of_an_email_is_in_its_history_and_suppresses_nobody(provider, kind):
    delivery = sent_email()

    assert tell(provider, kind, ANN, delivery.id) == 200

    assert MailEvent.objects.get().kind == kind
    assert not Suppression.objects.exists()
    assert Recipient.objects.get().status == "confirmed"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_whether_somebody_opened_an_email_is_not_kept(provider):
    assert tell(provider, "opened", ANN, sent_email().id) == 200

    assert not MailEvent.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_told_twice_counts_once_even_when_the_suppression_was_lifted_between(provider):
    delivery = sent_email()
    tell(provider, "bounced", ANN, delivery.id)
    lift(Suppression.objects.get(), timezone.now())

    assert tell(provider, "bounced", ANN, delivery.id) == 200

    assert MailEvent.objects.count() == 1
    assert not Suppression.objects.get().is_standing


def test_the_developers_see_it_in_the_delivery(settings):
    delivery = sent_email()
    tell("postmark", "bounced", ANN, delivery.id)
    key = factories.application_key(delivery.application)

    answer = Api(key).get(f"/v1/deliveries/{delivery.id}")

    [told] = answer.json()["mail_events"]
    assert told.keys() == {"kind", "at", "description"}
    assert (told["kind"], told["at"]) == ("bounced", "2026-11-02T16:05:50.000Z")
    assert "5.1.1" in told["description"]


def test_the_operators_see_it_and_lift_it(django_user_model):
    delivery = sent_email()
    tell("postmark", "complained", ANN, delivery.id)
    boss = User.objects.create_superuser("boss", password="x")
    client = Client()
    client.force_login(boss)

    page = client.get(f"/admin/deliveries/delivery/{delivery.id}/change/").content.decode()
    client.post(
        "/admin/subscriptions/suppression/",
        {"action": "lift", "_selected_action": Suppression.objects.get().pk, "confirmed": "1"},
    )

    assert "complained" in page
    assert not Suppression.objects.get().is_standing
    assert Recipient.objects.get().status == "unconfirmed"
    assert Notice.objects.filter(kind="confirmation", email=ANN, due_at__isnull=False).exists()
    assert AuditEntry.objects.filter(action="suppression.lifted", actor="boss").exists()


def test_an_event_of_no_delivery_that_is_known_still_suppresses_its_address():
    sent_email()

    tell("postmark", "bounced", "nobody@example.org", "not an id")

    assert MailEvent.objects.get().delivery_id is None
    assert Suppression.objects.get().email == "nobody@example.org"
    assert Recipient.objects.get().status == "confirmed"


def test_an_event_about_one_address_is_not_in_the_history_of_anothers_delivery():
    delivery = sent_email()

    tell("postmark", "bounced", "eve@example.org", delivery.id)

    assert MailEvent.objects.get().delivery_id is None
    assert Recipient.objects.get().status == "confirmed"


def test_the_events_of_a_digest_are_in_the_history_of_each_of_its_deliveries():
    first = sent_email()
    digest = "019a4c1e-7b60-8d3a-9a51-0c2f6be3a7d4"
    Delivery.objects.update(digest=digest)

    tell("postmark", "delivered", ANN, digest)
    tell("postmark", "delivered", ANN, digest)

    told = MailEvent.objects.order_by("delivery_id").values_list("delivery_id", flat=True)
    assert list(told) == list(Delivery.objects.order_by("id").values_list("id", flat=True))
    assert first.id in told


def soft_bounces(count: int, delivery: Delivery, start: int = 0) -> None:
    for number in range(start, start + count):
        tell(
            "postmark",
            "soft_bounced",
            ANN,
            delivery.id,
            ID=number,
            BouncedAt=timezone.now().isoformat(),
        )


def test_many_soft_bounces_with_nothing_delivered_between_suppress_an_address():
    delivery = sent_email()

    soft_bounces(SOFT_BOUNCES - 1, delivery)
    assert not Suppression.objects.exists()
    soft_bounces(1, delivery, start=100)

    assert "none arrived" in Suppression.objects.get().reason


def test_an_email_that_arrives_makes_up_for_soft_bounces():
    delivery = sent_email()

    soft_bounces(SOFT_BOUNCES - 1, delivery)
    tell("postmark", "delivered", ANN, delivery.id, DeliveredAt=timezone.now().isoformat())
    soft_bounces(SOFT_BOUNCES - 1, delivery, start=100)

    assert not Suppression.objects.exists()


def test_a_suppressed_address_stays_so_for_every_application_and_is_not_asked():
    suppress({ANN: "It does not exist."}, "mail server", timezone.now())

    subscription = factories.emails(factories.application("Another"), ["Ann@Example.org", "bob@example.org"])

    assert dict(subscription.recipients.values_list("email", "status")) == {
        "Ann@Example.org": "suppressed",
        "bob@example.org": "unconfirmed",
    }
    assert list(Notice.objects.values_list("email", flat=True)) == ["bob@example.org"]


def test_who_is_suppressed_is_not_confirmed_by_an_old_link_nor_by_being_added_again():
    subscription = factories.emails(factories.application())
    recipient = subscription.recipients.get()
    suppress({ANN: "It does not exist."}, "mail server", timezone.now())

    confirm_recipient(recipient, timezone.now())
    change_subscription(subscription, {}, ["bob@example.org"], timezone.now())
    change_subscription(subscription, {}, [ANN], timezone.now())

    assert subscription.recipients.get(email=ANN).status == "suppressed"


def test_who_had_unsubscribed_is_not_asked_again_when_a_suppression_is_lifted():
    recipient = factories.emails(factories.application()).recipients.get()
    unsubscribe_recipient(recipient, timezone.now())
    suppress({ANN: "It does not exist."}, "mail server", timezone.now())
    lift(Suppression.objects.get(), timezone.now())

    recipient.refresh_from_db()
    assert recipient.status == "unsubscribed"
    with pytest.raises(NotPossible):
        lift(Suppression.objects.get(), timezone.now())


@pytest.mark.parametrize(
    "authorization", ["", "Basic bm9ib2R5OmFueXRoaW5n", "Basic \xff", "Bearer x", "Basic"]
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_nobody_is_believed_without_the_password(provider, authorization):
    delivery = sent_email()

    answer = post(provider, *PAYLOADS[provider]("bounced", ANN, delivery.id), authorization=authorization)

    assert answer.status_code == 401
    assert answer["www-authenticate"].startswith("Basic")
    assert not MailEvent.objects.exists()


def test_nothing_of_mailguns_is_believed_without_its_signature():
    assert tell("mailgun", "bounced", ANN, sent_email().id, key="another") == 403

    assert not Suppression.objects.exists()


def test_only_the_providers_that_were_chosen_are_listened_to(settings):
    settings.EMAIL_WEBHOOK_PROVIDERS = ["postmark"]

    codes = {provider: tell(provider, "delivered", ANN, "x") for provider in [*PROVIDERS]}

    assert codes == {"postmark": 200, "sendgrid": 404, "mailgun": 404, "amazon_ses": 404}
    settings.EMAIL_WEBHOOK_PROVIDERS = []
    assert tell("postmark", "bounced", ANN, "x") == 404
    assert not Suppression.objects.exists()


HOSTILE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"3",
    b'"text"',
    b"[[]]",
    b"\xff\xfe",
    b'{"RecordType": {"a": 1}}',
    b'{"RecordType": "Bounce", "Email": {"a": []}, "BouncedAt": 4}',
    b'{"RecordType": "Bounce", "Type": [], "Email": "a@b.example", "Metadata": 7}',
    b'{"Type": "Notification", "MessageId": "1", "Message": "{\\"eventType\\": 5}"}',
    b'{"signature": {"token": 1}, "event-data": []}',
    b'[{"event": "bounce", "timestamp": 1e400}]',
    b"[" * 100_000,
    b'{"RecordType": "Inbound"}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_whatever_comes_is_refused_and_breaks_nothing(provider, body):
    answer = post(provider, body, {"content-type": "application/json"})

    assert answer.status_code in (200, 400, 403)
    assert "Traceback" not in answer.content.decode()
    assert not Suppression.objects.exists()


def test_odd_values_in_an_event_are_cleaned():
    delivery = sent_email()
    words = "a\x00b\r\n\u202e<script>\ud800 " + "x" * 5000

    assert (
        tell(
            "postmark", "soft_bounced", ANN, delivery.id, Details=words, BouncedAt="0001-01-01T00:00:00+14:00"
        )
        == 200
    )

    event = MailEvent.objects.get()
    assert re.fullmatch(r"ab <script> x+…", event.description)
    assert len(event.description) == 500


def test_a_body_that_is_too_large_is_not_read():
    answer = post("postmark", b" " * (2 * 1024 * 1024 + 1), {"content-type": "application/json"})

    assert answer.status_code == 413


def test_answers_have_the_security_headers_and_other_methods_are_refused():
    answer = Client().get("/anymail/postmark/tracking/", headers={"authorization": AUTHORIZATION})

    assert answer.status_code == 405
    assert "default-src 'none'" in answer["content-security-policy"]


def test_an_operator_is_told_how_to_confirm_amazons_subscription(caplog):
    body, headers = PAYLOADS["amazon_ses"]("delivered", ANN, "x")
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=4711"
    asked = {**json.loads(body), "Type": "SubscriptionConfirmation", "SubscribeURL": url, "Token": "4711"}
    headers["x-amz-sns-message-type"] = "SubscriptionConfirmation"

    assert post("amazon_ses", json.dumps(asked).encode(), headers).status_code == 200

    assert url in caplog.text


def test_events_are_forgotten_with_their_deliveries():
    delivery = sent_email()
    tell("postmark", "delivered", ANN, delivery.id)
    tell("postmark", "bounced", "gone@example.org", "x")
    later = timezone.now() + timedelta(days=1)

    assert forget_mail_events(later) == 1

    assert MailEvent.objects.get().delivery_id == delivery.id


@pytest.mark.django_db(transaction=True)
def test_a_provider_reaches_it_over_http(live_server):
    delivery = sent_email()
    body, headers = PAYLOADS["postmark"]("bounced", ANN, delivery.id)

    answer = requests.post(
        f"{live_server.url}/anymail/postmark/tracking/",
        data=body,
        headers={**headers, "authorization": AUTHORIZATION},
        timeout=10,
    )

    assert answer.status_code == 200
    assert Suppression.objects.get().email == ANN
