"""The page behind the link in a weekly summary: the contact ends it, without an account, and may get it again."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from accounts.models import Application
from deliveries.summaries import end_summary, send_summary_again
from openvolt_events.recipients import PRIVATE
from subscriptions.links import BrokenLink, application_and_contact, contact_id


@method_decorator(csrf_exempt, name="dispatch")  # for the same reasons as the recipients' pages
class SummaryPage(View):
    """For the one contact whom its token names. Opening it changes nothing."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        for header, value in PRIVATE.items():
            response.headers[header] = value
        return response

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.answer(request, token, act=None)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """What mail programs post (RFC 8058) ends it."""
        return self.answer(request, token, send_summary_again if "again" in request.POST else end_summary)

    def answer(self, request: HttpRequest, token: str, act: Any) -> HttpResponse:
        try:
            application, email = contact_of(token)
        except BrokenLink:
            return render(request, "recipients/broken.html", status=404)
        if application is None:
            return render(request, "recipients/nothing_to_do.html")
        if act is not None:
            act(application.id, email)
            application.refresh_from_db()
        ended = email not in application.summary_contacts
        return render(
            request,
            "contacts/summary.html",
            {"application": application, "email": email, "ended": ended},
        )


def contact_of(token: str) -> tuple[Application | None, str]:
    """The application, and the contact's address; no application if the address is none of its contacts any more."""
    id, contact = application_and_contact(token)
    application = Application.objects.filter(pk=id).first()
    for email in application.contacts if application else ():
        if contact_id(id, email) == contact:
            return application, email
    return None, ""
