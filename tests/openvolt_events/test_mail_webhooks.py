"""What email providers tell of emails: who is believed, what is kept, and who gets nothing more."""

import hashlib
import hmac
import json
import re
from base64 import b64encode
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.models import Application, AuditEntry, User
from deliveries.lifecycle import NotPossible, change_subscription, confirm_recipient, unsubscribe_recipient
from deliveries.models import Delivery, MailEvent, Notice
from deliveries.publishing import publish
from deliveries.suppressing import lift, suppress
from deliveries.tracking import HARD, SOFT_BOUNCES, forget_mail_events
from openvolt_events.mail_webhooks import VIEWS
from subscriptions.models import Recipient, Suppression
from tests.support import factories
from tests.support.api import Api
from tests.support.mail_webhooks import (
    AUTHORIZATION,
    BREVO,
    MAILERSEND,
    MAILJET,
    NAMES_NO_EMAIL,
    PASSWORD,
    PAYLOADS,
    RESEND,
    SIGNING_KEY,
    SPARKPOST,
)
from tests.support.receivers import Receiver

pytestmark = pytest.mark.django_db

ANN = "ann@example.org"
PROVIDERS = sorted(PAYLOADS)


@pytest.fixture(autouse=True)
def listening(settings) -> None:
    settings.EMAIL_WEBHOOK_PROVIDERS = PROVIDERS
    settings.ANYMAIL = {
        "WEBHOOK_SECRET": [PASSWORD],
        "MAILGUN_WEBHOOK_SIGNING_KEY": SIGNING_KEY,
        "MAILERSEND_SIGNING_SECRET": SIGNING_KEY,
    }


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
    known = None if provider in NAMES_NO_EMAIL else delivery.id
    assert (event.delivery_id, event.kind, event.email) == (known, kind, ANN)
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


MORE: dict[str, Collection[str]] = {
    "brevo": BREVO,
    "mailersend": MAILERSEND,
    "mailjet": MAILJET,
    "resend": RESEND,
    "sparkpost": SPARKPOST,
}


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        (provider, kind)
        for provider, forms in MORE.items()
        for kind in ("unsubscribed", "rejected", "deferred")
        if kind in forms
    ],
)
def test_an_unsubscription_at_the_provider_suppresses_and_what_it_only_put_off_does_not(provider, kind):
    assert tell(provider, kind, ANN, sent_email().id) == 200

    assert MailEvent.objects.get().kind == kind
    assert Suppression.objects.exists() == (kind == "unsubscribed")


def test_every_provider_that_may_be_chosen_is_tested():
    assert set(PROVIDERS) == VIEWS.keys() == settings.WEBHOOK_PROVIDERS
    assert {view.esp_name for view in VIEWS.values()} == HARD.keys()


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


@pytest.mark.parametrize("kind", ["bounced", "complained"])
def test_what_is_told_late_of_before_a_suppression_was_lifted_does_not_suppress_again(kind):
    delivery = sent_email()
    suppress({ANN: "Told by a person."}, "staff", timezone.now())
    lift(Suppression.objects.get(), timezone.now())

    assert tell("postmark", kind, ANN, delivery.id) == 200

    assert MailEvent.objects.get().kind == kind
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
    boss = User.objects.create_superuser("boss")
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


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_event_of_no_delivery_that_is_known_still_suppresses_its_address(provider):
    sent_email()

    assert tell(provider, "bounced", "nobody@example.org", "not an id") == 200

    assert MailEvent.objects.get().delivery_id is None
    assert Suppression.objects.get().email == "nobody@example.org"
    assert Recipient.objects.get().status == "confirmed"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_event_about_one_address_is_not_in_the_history_of_anothers_delivery(provider):
    delivery = sent_email()

    assert tell(provider, "bounced", "eve@example.org", delivery.id) == 200

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


def soft_bounces(count: int, start: int = 0, of: object = None) -> None:
    """Of as many emails, or of one."""
    for number in range(start, start + count):
        tell(
            "postmark",
            "soft_bounced",
            ANN,
            of or uuid4(),
            ID=number,
            BouncedAt=timezone.now().isoformat(),
        )


def test_many_soft_bounces_with_nothing_delivered_between_suppress_an_address():
    sent_email()

    soft_bounces(SOFT_BOUNCES - 1)
    assert not Suppression.objects.exists()
    soft_bounces(1, start=100)

    assert "none arrived" in Suppression.objects.get().reason


def test_an_email_that_arrives_makes_up_for_soft_bounces():
    delivery = sent_email()

    soft_bounces(SOFT_BOUNCES - 1)
    tell("postmark", "delivered", ANN, delivery.id, DeliveredAt=timezone.now().isoformat())
    soft_bounces(SOFT_BOUNCES - 1, start=100)

    assert not Suppression.objects.exists()


def test_one_email_that_comes_back_again_and_again_counts_once():
    soft_bounces(3 * SOFT_BOUNCES, of=sent_email().id)

    assert not Suppression.objects.exists()


def test_a_digest_that_comes_back_counts_once_however_much_is_in_it():
    sent_email()
    for _ in range(SOFT_BOUNCES):
        publish(Application.objects.get(), "meter.created", factories.example("meter.created"))
    digest = uuid4()
    Delivery.objects.update(digest=digest)

    soft_bounces(1, of=digest)

    assert MailEvent.objects.count() > SOFT_BOUNCES
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("told", ["ann@xn--exmple-cua.example", "Ann@EXÄMPLE.example"])
@pytest.mark.parametrize(
    "stored", ["ann@exämple.example", "ann@xn--exmple-cua.example", "ann@EXÄMPLE.example"]
)
def test_an_address_at_a_name_of_any_language_is_the_same_however_it_is_spelled(stored, told):
    subscription = factories.confirmed_emails(factories.application(), [stored])
    publish(subscription.application, "meter.created", factories.example("meter.created"))
    delivery = Delivery.objects.get()

    tell("postmark", "bounced", told, delivery.id)

    assert MailEvent.objects.get().delivery_id == delivery.id
    assert Recipient.objects.get().status == "suppressed"
    again = factories.emails(factories.application("Another"), [stored])
    assert again.recipients.get().status == "suppressed"


def test_two_spellings_of_an_address_are_one_recipient():
    subscription = factories.emails(
        factories.application(), ["ann@exämple.example", "Ann@xn--exmple-cua.example"]
    )
    kept = subscription.recipients.get()

    change_subscription(subscription, {}, ["ann@EXÄMPLE.example"], timezone.now())

    assert subscription.recipients.get() == kept
    assert kept.removed_at is None
    assert Notice.objects.count() == 1


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


@pytest.mark.parametrize("provider", ["mailersend", "mailgun"])
def test_nothing_of_those_that_sign_is_believed_without_their_signature(provider):
    delivery = sent_email()
    assert tell(provider, "bounced", ANN, delivery.id, key="another") == 403

    unsigned = json.dumps({"type": "activity.hard_bounced", "event-data": {"event": "failed"}}).encode()
    assert post(provider, unsigned, {"content-type": "application/json"}).status_code == 403
    assert not Suppression.objects.exists()


def test_with_a_key_of_sendgrids_its_signature_is_checked(settings):
    delivery, private = sent_email(), ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    settings.ANYMAIL["SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"] = b64encode(public).decode()
    body, headers = PAYLOADS["sendgrid"]("bounced", ANN, delivery.id)
    signature = b64encode(private.sign(b"1793635551" + body, ec.ECDSA(hashes.SHA256()))).decode()
    named = "x-twilio-email-event-webhook-"
    signed = {**headers, f"{named}timestamp": "1793635551", f"{named}signature": signature}

    for wrong in (headers, signed | {f"{named}timestamp": "1"}, signed | {f"{named}signature": "x"}):
        assert post("sendgrid", body, wrong).status_code == 403
    assert not MailEvent.objects.exists()
    assert post("sendgrid", body, signed).status_code == 200
    assert Suppression.objects.exists()


def test_only_the_providers_that_were_chosen_are_listened_to(settings):
    settings.EMAIL_WEBHOOK_PROVIDERS = ["postmark"]

    codes = {provider: tell(provider, "delivered", ANN, "x") for provider in PROVIDERS}

    assert codes == {provider: 200 if provider == "postmark" else 404 for provider in PROVIDERS}
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
    b'{"event": [], "email": 4, "ts_epoch": "x"}',
    b'{"event": "spam", "ts_epoch": 1e300, "X-Mailin-custom": "[]"}',
    b'[{"event": "bounce", "time": 1e300, "Payload": "7", "email": null}]',
    b'{"type": "activity.sent", "data": {"email": {"recipient": 4}}}',
    b'{"type": "email.bounced", "created_at": 4, "data": {"headers": [4], "to": {}}}',
    b'{"type": "email.bounced", "created_at": "", "data": {"bounce": null}}',
    b'[{"msys": {"message_event": {"type": {}, "timestamp": "99999999999999999999"}}}]',
    b'[{"msys": {"a": 1, "b": 2}}, {"msys": []}]',
    b'{"items": []}',
]
FORMS = [
    (b"event=failed&recipient=ann%40example.org", "application/x-www-form-urlencoded"),
    (b"&".join(b"a%d=1" % number for number in range(5000)), "application/x-www-form-urlencoded"),
    (b"--x\r\nContent-Disposition: form-data; name=", "multipart/form-data; boundary=x"),
    (b"nothing", "multipart/form-data"),
    (b"\xff\xfe", "text/plain; charset=made-up"),
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_whatever_comes_is_refused_and_breaks_nothing(provider, body):
    answer = post(provider, body, {"content-type": "application/json"})

    assert answer.status_code in (200, 400, 403)
    assert "Traceback" not in answer.content.decode()
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(("body", "content_type"), FORMS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_forms_instead_of_json_are_refused_and_break_nothing(provider, body, content_type):
    answer = post(provider, body, {"content-type": content_type})

    assert 400 <= answer.status_code < 500
    assert not MailEvent.objects.exists()


@pytest.mark.parametrize(
    "broken", [5, {}, {"event": [], "email": ANN}, {"msys": {"message_event": {"type": []}}}], ids=str
)
@pytest.mark.parametrize("provider", ["sendgrid", "mailjet", "sparkpost"])
def test_what_can_be_read_of_a_batch_counts_whatever_else_is_in_it(provider, broken):
    delivery = sent_email()
    body, headers = PAYLOADS[provider]("bounced", ANN, delivery.id)
    known = json.loads(body)
    batch = [broken, *(known if isinstance(known, list) else [known]), broken]

    assert post(provider, json.dumps(batch).encode(), headers).status_code == 200

    assert MailEvent.objects.get().delivery_id == delivery.id
    assert Suppression.objects.get().email == ANN
    assert post(provider, json.dumps([broken] * 2).encode(), headers).status_code == 400


def test_an_email_that_mailgun_tells_of_in_the_form_of_old_counts_when_it_is_signed():
    timestamp, token = "1793635550", "a-token"
    signature = hmac.new(SIGNING_KEY.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    fields = {"event": "complained", "recipient": ANN, "timestamp": timestamp, "token": token}

    codes = [
        post(
            "mailgun",
            urlencode(fields | {"signature": shown}).encode(),
            {"content-type": "application/x-www-form-urlencoded"},
        ).status_code
        for shown in ("wrong", signature)
    ]

    assert codes == [403, 200]
    assert Suppression.objects.get().email == ANN


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


def sns_asks(url: str, kind: str = "SubscriptionConfirmation") -> int:
    body, headers = PAYLOADS["amazon_ses"]("delivered", ANN, "x")
    asked = {**json.loads(body), "Type": kind, "SubscribeURL": url, "Token": "4711"}
    headers["x-amz-sns-message-type"] = kind
    return post("amazon_ses", json.dumps(asked).encode(), headers).status_code


def test_an_operator_is_told_how_to_confirm_amazons_subscription(caplog):
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=4711"

    assert sns_asks(url) == 200

    assert url in caplog.text


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
@pytest.mark.parametrize(
    "url",
    [
        "{receiver}",
        "{receiver}/sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com@127.0.0.1:{port}/",
        "https://sns.eu-west-1.amazonaws.com.evil.example/",
        "https://sns.eu-west-1.amazonaws.com:{port}/",
        "https://sns.eu-west-1.amazonaws.com/\nforged line",
        "file:///etc/passwd",
    ],
)
def test_no_address_that_a_message_names_is_opened_nor_shown_unless_it_is_amazons(caplog, url, kind):
    with Receiver() as receiver:
        url = url.format(receiver=receiver.url.rstrip("/"), port=receiver.port)
        assert sns_asks(url, kind) == 200

    assert receiver.requests == []
    assert url not in caplog.text


def test_a_message_of_sns_that_is_not_what_its_headers_say_is_refused():
    body, headers = PAYLOADS["amazon_ses"]("bounced", ANN, sent_email().id)

    for name, value in {"type": "UnsubscribeConfirmation", "id": "another"}.items():
        assert post("amazon_ses", body, headers | {f"x-amz-sns-message-{name}": value}).status_code == 403
    assert not Suppression.objects.exists()


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


def signed_anew(body: bytes, token: str) -> bytes:
    """What Mailgun posted, with the signature of another post."""
    told = json.loads(body)
    signed = f"{told['signature']['timestamp']}{token}".encode()
    signature = hmac.new(SIGNING_KEY.encode(), signed, hashlib.sha256).hexdigest()
    told["signature"] |= {"token": token, "signature": signature}
    return json.dumps(told).encode()


def test_an_event_that_mailgun_tells_of_again_with_a_new_signature_counts_once():
    body, headers = PAYLOADS["mailgun"]("soft_bounced", ANN, sent_email().id)

    codes = [post("mailgun", signed_anew(body, token), headers).status_code for token in ("one", "two")]

    assert codes == [200, 200]
    assert MailEvent.objects.count() == 1


def test_what_mailgun_gives_the_same_id_on_another_day_is_another_event():
    delivery = sent_email()
    for moment in (1793635550.25, 1793735550.25):
        assert tell("mailgun", "soft_bounced", ANN, delivery.id, timestamp=moment) == 200

    assert MailEvent.objects.count() == 2


def published_anew(kind: str, id: object, sns_id: str, **details: str) -> int:
    """What Amazon SES tells, in a message of SNS with this id."""
    body, headers = PAYLOADS["amazon_ses"](kind, ANN, id, MessageId=sns_id)
    envelope = json.loads(body)
    told = json.loads(envelope["Message"])
    told[told["eventType"].lower()] |= details
    envelope["Message"] = json.dumps(told)
    headers["x-amz-sns-message-id"] = sns_id
    return post("amazon_ses", json.dumps(envelope).encode(), headers).status_code


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("delivered", {}),
        ("soft_bounced", {"feedbackId": "0100013700000000-000000"}),
        ("complained", {"feedbackId": "0100013700000001-000000"}),
    ],
)
def test_an_event_of_amazon_ses_in_another_message_of_sns_counts_once(kind, details):
    delivery = sent_email()

    codes = [published_anew(kind, delivery.id, sns_id, **details) for sns_id in ("one", "two")]

    assert codes == [200, 200]
    assert MailEvent.objects.count() == 1


def test_two_bounces_of_an_email_that_amazon_ses_tells_of_are_two():
    delivery = sent_email()

    for feedback in ("one", "two"):
        published_anew("soft_bounced", delivery.id, f"sns-{feedback}", feedbackId=feedback)

    assert MailEvent.objects.count() == 2
