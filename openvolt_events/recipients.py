"""The pages behind the links in emails: confirm an address, see what it gets, unsubscribe.

A link carries a signed token and needs no account. Opening a page changes nothing (mail servers open links to
look for malware); its button does.
"""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from deliveries.channels.wording import sentences
from deliveries.lifecycle import confirm_recipient, unsubscribe_recipient
from subscriptions.links import (
    BrokenLink,
    ExpiredLink,
    confirm_link,
    recipient_to_confirm,
    recipient_to_unsubscribe,
    unsubscribe_link,
)
from subscriptions.models import EVERY_TYPE, Recipient

PRIVATE = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # the address of the page is the key to it
    "x-robots-tag": "noindex, nofollow",
}


# No CSRF token: the signed token in the address is the authority, no cookie is. Mail programs that unsubscribe
# with one click (RFC 8058) have no cookies, and under no-referrer browsers send no origin that could be checked.
@method_decorator(csrf_exempt, name="dispatch")
class RecipientPage(View):
    """A page for the one recipient whom its token names."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        for header, value in PRIVATE.items():
            response.headers[header] = value
        return response

    def recipient_id(self, token: str) -> UUID:
        """Raises BrokenLink or ExpiredLink."""
        raise NotImplementedError

    def page(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        raise NotImplementedError

    def change(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        raise NotImplementedError

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.answer(request, token, self.page)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.answer(request, token, self.change)

    def answer(self, request: HttpRequest, token: str, act: Any) -> HttpResponse:
        """Only for a recipient who is still one; otherwise say what is wrong with the link."""
        try:
            recipient = existing(self.recipient_id(token))
        except ExpiredLink:
            return render(request, "recipients/expired.html", status=410)
        except BrokenLink:
            return render(request, "recipients/broken.html", status=404)
        if recipient is None:
            return render(request, "recipients/nothing_to_do.html")
        return act(request, recipient)


class ConfirmPage(RecipientPage):
    def recipient_id(self, token: str) -> UUID:
        return recipient_to_confirm(token)

    def page(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        return show(request, "recipients/confirm.html", recipient)

    def change(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        confirm_recipient(recipient, timezone.now())
        suppressed = recipient.status == Recipient.Status.SUPPRESSED
        return show(request, "recipients/confirm.html", recipient, status=409 if suppressed else 200)


class UnsubscribePage(RecipientPage):
    def recipient_id(self, token: str) -> UUID:
        return recipient_to_unsubscribe(token)

    def page(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        return show(request, "recipients/unsubscribe.html", recipient)

    def change(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        if recipient.status != Recipient.Status.SUPPRESSED:
            unsubscribe_recipient(recipient, timezone.now())
        return show(request, "recipients/unsubscribe.html", recipient)


def existing(recipient_id: UUID) -> Recipient | None:
    return (
        Recipient.objects.select_related("subscription__application")
        .filter(pk=recipient_id, removed_at=None, subscription__deleted_at=None)
        .first()
    )


def show(request: HttpRequest, template: str, recipient: Recipient, status: int = 200) -> HttpResponse:
    subscription = recipient.subscription
    context = {
        "recipient": recipient,
        "application": subscription.application,
        "sentences": sentences(subscription.event_types),
        "everything": EVERY_TYPE in subscription.event_types,
        "confirm_link": confirm_link(recipient.id),
        "unsubscribe_link": unsubscribe_link(recipient.id),
    }
    return render(request, template, context, status=status)


urlpatterns = [
    path("confirm/<token>", ConfirmPage.as_view(), name="confirm-recipient"),
    path("unsubscribe/<token>", UnsubscribePage.as_view(), name="unsubscribe-recipient"),
]
