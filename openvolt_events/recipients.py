"""The pages behind the links in emails to recipients: confirm an address, see what it gets, unsubscribe."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone
from django.utils.translation.trans_real import parse_accept_lang_header

from deliveries.channels.wording import sentences
from deliveries.letters.reader import LANGUAGES, Reader
from deliveries.lifecycle import choose, confirm_recipient, unsubscribe_recipient
from deliveries.suppressing import decline
from openvolt_events.preferences import PreferencesForm, has_never_chosen, is_zone
from openvolt_events.token_pages import TokenPage
from subscriptions.links import (
    BrokenLink,
    ExpiredLink,
    confirm_link,
    preferences_link,
    recipient_to_confirm,
    recipient_to_unsubscribe,
    recipient_who_chooses,
    unsubscribe_link,
)
from subscriptions.models import EVERY_TYPE, Channel, Recipient

UNCHOSEN = Recipient._meta.get_field("language").default


class RecipientPage(TokenPage):
    def recipient_id(self, token: str) -> UUID:
        """Raises BrokenLink or ExpiredLink."""
        raise NotImplementedError

    def answer(self, request: HttpRequest, token: str, act: Any) -> HttpResponse:
        """Only for a recipient who is still one, in their language; otherwise say what is wrong with the link."""
        try:
            recipient = known(self.recipient_id(token))
        except ExpiredLink:  # of somebody who has not chosen a language yet
            return say(request, "recipients/expired.html", browsers_reader(request), status=410)
        except BrokenLink:
            return say(request, "recipients/broken.html", browsers_reader(request), status=404)
        reader = reader_of(recipient) if recipient and has_a_language(recipient) else browsers_reader(request)
        if recipient is None or is_gone(recipient):
            return say(request, "recipients/nothing_to_do.html", reader)
        with reader.language_on():
            return act(request, recipient)


class ConfirmPage(RecipientPage):
    def recipient_id(self, token: str) -> UUID:
        return recipient_to_confirm(token)

    def page(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        return show(request, "recipients/confirm.html", recipient)

    def change(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        Recipient.objects.filter(pk=recipient.pk).update(**browsers_choices(request, recipient))
        confirm_recipient(recipient, timezone.now())
        suppressed = recipient.status == Recipient.Status.SUPPRESSED
        return show(request, "recipients/confirm.html", recipient, status=409 if suppressed else 200)


class PreferencesPage(RecipientPage):
    """What somebody wants, and when. Saved by its button; what is not valid is shown again, with the reason."""

    def recipient_id(self, token: str) -> UUID:
        return recipient_who_chooses(token)

    def page(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        return show(request, "recipients/preferences.html", recipient, form=PreferencesForm.of(recipient))

    def change(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        form = PreferencesForm(recipient.subscription, request.POST)
        if not (recipient.wants_email and form.is_valid()):
            return show(request, "recipients/preferences.html", recipient, status=422, form=form)
        choose(recipient, form.cleaned_data, timezone.now())
        with reader_of(recipient).language_on():  # it may be another one now
            form = PreferencesForm.of(recipient)
            return show(request, "recipients/preferences.html", recipient, form=form, saved=True)


class UnsubscribePage(RecipientPage):
    def recipient_id(self, token: str) -> UUID:
        return recipient_to_unsubscribe(token)

    def page(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        return show(request, "recipients/unsubscribe.html", recipient)

    def change(self, request: HttpRequest, recipient: Recipient) -> HttpResponse:
        if recipient.status == Recipient.Status.UNCONFIRMED:
            decline(recipient, timezone.now())
        elif recipient.status != Recipient.Status.SUPPRESSED:
            unsubscribe_recipient(recipient, timezone.now())
        return show(request, "recipients/unsubscribe.html", recipient)


def known(recipient_id: UUID) -> Recipient | None:
    return Recipient.objects.select_related("subscription__application").filter(pk=recipient_id).first()


def is_gone(recipient: Recipient) -> bool:
    return recipient.removed_at is not None or recipient.subscription.deleted_at is not None


def has_a_language(recipient: Recipient) -> bool:
    """Nobody can have chosen one before confirming: until then it is that of the browser."""
    return recipient.confirmed_at is not None or recipient.language != UNCHOSEN


def reader_of(recipient: Recipient) -> Reader:
    return Reader(recipient.timezone, recipient.language)


def browsers_reader(request: HttpRequest) -> Reader:
    """Where nobody has chosen: who reads the first language that the browser asks for and that we speak."""
    asked = parse_accept_lang_header(request.headers.get("accept-language", ""))
    spoken = (language.partition("-")[0] for language, quality in asked if quality > 0)
    return Reader(language=next((language for language in spoken if language in LANGUAGES), "en"))


def browsers_choices(request: HttpRequest, recipient: Recipient) -> dict[str, str]:
    """The language and the time zone of who has chosen none. Without scripts the form has no zone."""
    chosen = {}
    if not has_a_language(recipient):
        chosen["language"] = browsers_reader(request).language
    if has_never_chosen(recipient) and is_zone(zone := request.POST.get("timezone", "")):
        chosen["timezone"] = zone
    return chosen


def say(request: HttpRequest, template: str, reader: Reader, status: int = 200) -> HttpResponse:
    """What is the same for everybody, in this reader's language."""
    with reader.language_on():
        return render(request, template, status=status)


def show(
    request: HttpRequest, template: str, recipient: Recipient, status: int = 200, **more: Any
) -> HttpResponse:
    return render(request, template, context_of(recipient) | more, status=status)


def context_of(recipient: Recipient) -> dict[str, Any]:
    subscription = recipient.subscription
    return {
        "recipient": recipient,
        "application": subscription.application,
        "sentences": sentences(subscription.emailed_types),
        "everything": EVERY_TYPE in subscription.emailed_types,
        "is_fallback": subscription.channel == Channel.WEBHOOK,
        "has_never_chosen": has_never_chosen(recipient),
        "confirm_link": confirm_link(recipient.id),
        "unsubscribe_link": unsubscribe_link(recipient.id),
        "preferences_link": preferences_link(recipient.id),
    }


urlpatterns = [
    path("confirm/<token>", ConfirmPage.as_view(), name="confirm-recipient"),
    path("preferences/<token>", PreferencesPage.as_view(), name="recipient-preferences"),
    path("unsubscribe/<token>", UnsubscribePage.as_view(), name="unsubscribe-recipient"),
]
