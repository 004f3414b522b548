"""What email providers tell of the emails they were given: `/anymail/<provider>/tracking/`.

Only those that EMAIL_WEBHOOK_PROVIDERS names are listened to, and only with the password, and the signature where
Anymail checks one. The rest is what anybody can send: it is bounded, and what can't be read is refused with 4xx, so
that no provider repeats it for days.
"""

import re
import warnings
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from anymail.exceptions import (  # type: ignore[import-untyped]
    AnymailNotSupportedWarning,
    AnymailWebhookValidationFailure,
)
from anymail.signals import AnymailTrackingEvent  # type: ignore[import-untyped]
from anymail.utils import get_request_basic_auth  # type: ignore[import-untyped]
from anymail.webhooks.amazon_ses import (  # type: ignore[import-untyped]
    AmazonSESBaseWebhookView,
    AmazonSESTrackingWebhookView,
)
from anymail.webhooks.base import AnymailBaseWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.brevo import BrevoTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.mailersend import MailerSendTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.mailgun import MailgunTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.mailjet import MailjetTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.postmark import PostmarkTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.resend import ResendTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.sendgrid import SendGridTrackingWebhookView  # type: ignore[import-untyped]
from anymail.webhooks.sparkpost import SparkPostTrackingWebhookView  # type: ignore[import-untyped]
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from deliveries.tracking import note

MOST_BYTES = 2 * 1024 * 1024  # SendGrid's batches, the largest, have up to 768 KiB
MOST_EVENTS = 10_000
OF_AMAZON = re.compile(r"https://sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/[!-~]*", re.ASCII)
WHO_ARE_YOU = {"WWW-Authenticate": 'Basic realm="email webhooks"'}

log = structlog.get_logger(__name__)
warnings.filterwarnings(
    "ignore", category=AnymailNotSupportedWarning
)  # SendGrid's: our tests have its payloads


class AmazonSES(AmazonSESTrackingWebhookView):
    """Anymail's, without boto3: it only confirms subscriptions of Amazon's, which here an operator does."""

    def __init__(self, **kwargs: Any) -> None:
        super(AmazonSESBaseWebhookView, self).__init__(**kwargs)

    def auto_confirm_sns_subscription(self, sns_message: dict[str, Any]) -> None:
        url = str(sns_message.get("SubscribeURL"))
        if OF_AMAZON.fullmatch(url):
            log.warning("open this address to let Amazon SNS send webhooks of emails", url=url)


class InBatches(AnymailBaseWebhookView):
    """Anymail's of those that tell of many at a time: what it can't read takes nothing else along, unless it is all."""

    def parse_events(self, request: HttpRequest) -> list[AnymailTrackingEvent]:
        self.unread: list[Exception] = []
        events = [event for event in super().parse_events(request) if event is not None]
        if self.unread and not events:
            raise self.unread[0]
        if self.unread:
            log.warning(
                "a part of an email webhook can't be read", provider=self.esp_name, count=len(self.unread)
            )
        return events

    def esp_to_anymail_event(self, *told: Any) -> AnymailTrackingEvent | None:
        try:
            return super().esp_to_anymail_event(*told)
        except Exception as error:
            self.cannot_read(error)
            return None

    def cannot_read(self, error: Exception) -> None:
        if len(self.unread) >= MOST_EVENTS:
            raise error
        self.unread.append(error)


class Mailjet(InBatches, MailjetTrackingWebhookView):
    pass


class SendGrid(InBatches, SendGridTrackingWebhookView):
    pass


class SparkPost(InBatches, SparkPostTrackingWebhookView):
    def unwrap_event(self, raw_event: Any) -> tuple[Any, Any, Any]:
        try:
            return super().unwrap_event(raw_event)
        except Exception as error:
            self.cannot_read(error)
            return None, None, raw_event


VIEWS: dict[str, type[AnymailBaseWebhookView]] = {
    "amazon_ses": AmazonSES,
    "brevo": BrevoTrackingWebhookView,
    "mailersend": MailerSendTrackingWebhookView,
    "mailgun": MailgunTrackingWebhookView,
    "mailjet": Mailjet,
    "postmark": PostmarkTrackingWebhookView,
    "resend": ResendTrackingWebhookView,
    "sendgrid": SendGrid,
    "sparkpost": SparkPost,
}


@csrf_exempt
@require_http_methods(["HEAD", "POST"])  # some providers look first whether anybody is there
def mail_webhook(request: HttpRequest, provider: str) -> HttpResponse:
    if provider not in settings.EMAIL_WEBHOOK_PROVIDERS:
        raise Http404
    if not is_known(request):
        return refused(HTTPStatus.UNAUTHORIZED, WHO_ARE_YOU)
    if request.method == "HEAD":
        return HttpResponse()
    if int(request.META.get("CONTENT_LENGTH") or 0) > MOST_BYTES:
        return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        view = VIEWS[provider]()
        events = read(view, request)
    except AnymailWebhookValidationFailure:
        return refused(HTTPStatus.FORBIDDEN)
    except RequestDataTooBig:
        return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    except Exception as error:  # Anymail takes JSON of any shape for what the provider documents
        log.info("email webhook can't be read", provider=provider, reason=type(error).__name__)
        return refused(HTTPStatus.BAD_REQUEST)
    note(events, view.esp_name, timezone.now())
    return HttpResponse()


def is_known(request: HttpRequest) -> bool:
    shown = get_request_basic_auth(request)
    secrets = settings.ANYMAIL["WEBHOOK_SECRET"]
    return shown is not None and any(constant_time_compare(shown, secret) for secret in secrets)


def read(view: AnymailBaseWebhookView, request: HttpRequest) -> Sequence[AnymailTrackingEvent]:
    view.setup(request)
    view.run_validators(request)
    events = list(view.parse_events(request))
    if len(events) > MOST_EVENTS:
        raise ValueError(f"{len(events)} events")
    return events


def refused(status: HTTPStatus, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{status.phrase}.\n", status=status, headers=headers, content_type="text/plain")
