"""What notices say in their headers beside what all emails do: how to end them, and which email they belong below."""

from collections.abc import Sequence
from uuid import UUID

from deliveries.channels import EmailTarget
from deliveries.channels.email import feedback_id, list_headers, list_id, message_id, one_click
from deliveries.models import Delivery, Notice
from subscriptions.links import unsubscribe_link
from subscriptions.models import Recipient

MOST_THREADS = 5  # all on one line, of which RFC 5322 allows 998 characters
ABOUT_CASES = {
    Notice.Kind.CASE_TAKEN,
    Notice.Kind.CASE_HANDED_OVER,
    Notice.Kind.CASE_DONE,
    Notice.Kind.CASE_GIVEN_BACK,
    Notice.Kind.CASE_UNHANDLED,
    Notice.Kind.CASE_UNFINISHED,
}


def headers_of(notices: Sequence[Notice]) -> dict[str, str]:
    """Of those that go out in one email."""
    first, *others = notices
    application = first.application
    source = application.id if others else first.subscription_id or application.id
    headers = {"Feedback-ID": feedback_id(source, first.kind)}
    if first.kind == Notice.Kind.SUMMARY:
        headers["List-Id"] = list_id(application.name, application.id)
    if first.kind == Notice.Kind.CONFIRMATION and first.recipient:
        headers |= one_click(unsubscribe_link(first.recipient.id))
    if first.kind in ABOUT_CASES and (recipient := first.recipient):
        target = EmailTarget(first.email, recipient.id, application.name)
        headers |= list_headers(recipient.subscription_id, target) | thread(notices)
    return headers


def thread(notices: Sequence[Notice]) -> dict[str, str]:
    """RFC 5322, section 3.6.4: a mail program shows them below the emails that told of the events."""
    shown = notices[:MOST_THREADS]
    firsts = [first_told(UUID(one.facts["case"]), one.recipient) for one in shown if one.recipient]
    ids = " ".join(dict.fromkeys(message_id(first) for first in firsts if first))
    return {"In-Reply-To": ids, "References": ids} if ids else {}


def first_told(event_id: UUID, recipient: Recipient) -> UUID | None:
    """What the first email to this recipient about the event is known by: its own, a digest's, or one for a webhook."""
    deliveries = Delivery.objects.filter(event=event_id, subscription=recipient.subscription_id)
    sent = deliveries.filter(recipient=recipient, status=Delivery.Status.SUCCEEDED)
    if first := sent.order_by("id").first():
        return first.digest or first.id
    missed = deliveries.filter(recipient=None).values_list("id", flat=True)
    instead = Notice.objects.filter(
        kind=Notice.Kind.FALLBACK,
        recipient=recipient,
        occasion__in=map(str, missed),
        sent_at__isnull=False,
    )
    return instead.order_by("id").values_list("id", flat=True).first()
