"""What an email would say: any type of event, told with its example or with an event that has happened.

The HTML of an email has its styles in attributes, which the policy of every other page forbids. So it has an address of
its own, for a frame of the operators' page: with a policy that lets inline styles through, and nothing else at all.
"""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.clickjacking import xframe_options_sameorigin

from accounts.admin_columns import page_of
from accounts.roles import SEE_PAYLOADS
from deliveries.channels import EmailTarget, Notification
from deliveries.channels.wording import Wording, notification_wording
from deliveries.customers import customers_of
from deliveries.letters.reader import LANGUAGES
from events.event_types import EVENT_TYPES
from events.models import Event
from openvolt_events.middleware import CONTENT_SECURITY_POLICY
from openvolt_events.preferences import ZONES

SEE_EVENTS = "events.view_event"
FRAMING_POLICY = f"{CONTENT_SECURITY_POLICY}; frame-src 'self'"
FRAMED_POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "sandbox",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    ]
)
NOBODY = UUID(int=0)  # whom the links are for: they lead to a page that has nothing to do
READER = "ann.reid@greenhomes.example"
APPLICATION = "Green Homes"


@dataclass(frozen=True)
class Preview:
    """The email, and whether it tells of the event that was asked for or, to who sees no payloads, of an example."""

    type: str
    wording: Wording
    event: Event | None
    is_example: bool


class PreviewForm(forms.Form):
    """Of a type that is not chosen, it is the event's own; of an event that is not, the type's example.

    Of neither: the first type's example.
    """

    event = forms.UUIDField(
        required=False, label="Event", help_text="Its id; empty: the example of the type."
    )
    type = forms.ChoiceField(
        required=False, choices=[("", "that of the event"), *((name, name) for name in EVENT_TYPES)]
    )
    language = forms.ChoiceField(required=False, choices=list(LANGUAGES.items()))
    timezone = forms.ChoiceField(required=False, label="Time zone", choices=ZONES)

    def clean_event(self) -> Event | None:
        id = self.cleaned_data["event"]
        event = Event.objects.select_related("application").filter(pk=id).first() if id else None
        if id and event is None:
            raise forms.ValidationError(f"There is no event {id}. Copy the id from the event's page.")
        return event

    def preview(self, *, sees_payloads: bool) -> Preview | None:
        """None when there is no example to show instead of what may not be seen."""
        event, chosen = self.cleaned_data["event"], self.cleaned_data["type"]
        told = chosen or (event.type if event else next(iter(EVENT_TYPES)))
        is_example = event is None or not sees_payloads
        if is_example and told not in EVENT_TYPES:
            return None
        payload = json.dumps(EVENT_TYPES[told].example) if is_example else event.payload
        happened = event.occurred_at if event else timezone.now()
        event_id = event.id if event else NOBODY
        known = {} if event is None or is_example else customers_of([(event.application_id, event)])
        customer = known.get(event_id, "")
        notification = Notification(NOBODY, NOBODY, event_id, told, happened, payload, customer=customer)
        return Preview(told, notification_wording(notification, self.target(event)), event, is_example)

    def target(self, event: Event | None) -> EmailTarget:
        return EmailTarget(
            READER,
            NOBODY,
            event.application.name if event else APPLICATION,
            self.cleaned_data["timezone"] or "UTC",
            self.cleaned_data["language"] or "en",
        )


def asked(request: HttpRequest) -> tuple[PreviewForm, Preview | None]:
    """What is asked for: without any question, the first type's example. Raises PermissionDenied."""
    if not request.user.has_perm(SEE_EVENTS):
        raise PermissionDenied
    form = PreviewForm(request.GET or {"language": "en", "timezone": "UTC"})
    sees_payloads = request.user.has_perm(SEE_PAYLOADS)
    return form, form.preview(sees_payloads=sees_payloads) if form.is_valid() else None


def preview_page(request: HttpRequest) -> HttpResponse:
    form, preview = asked(request)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "What an email says",
        "form": form,
        "preview": preview,
        "no_example": form.is_valid() and preview is None,
        "frame": f"{reverse('admin:email_html')}?{request.GET.urlencode()}",
        "page_of_event": page_of(preview.event) if preview and preview.event else "",
    }
    headers = {"content-security-policy": FRAMING_POLICY}
    return TemplateResponse(request, "admin/email_preview.html", context, headers=headers)


@xframe_options_sameorigin
def preview_html(request: HttpRequest) -> HttpResponse:
    """The HTML part alone, for the frame."""
    _, preview = asked(request)
    headers = {"content-security-policy": FRAMED_POLICY}
    if preview is None:
        return HttpResponse("There is no such email.", status=404, content_type="text/plain", headers=headers)
    return HttpResponse(preview.wording.html, headers=headers)


def email_urls(site: admin.AdminSite) -> list[URLPattern]:
    return [
        path("emails/", site.admin_view(preview_page), name="email"),
        path("emails/html", site.admin_view(preview_html), name="email_html"),
    ]
