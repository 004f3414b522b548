"""The pages behind links in emails to an application's contacts: how they read, and whether they want summaries."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.models import Application
from deliveries.letters.reader import Reader
from deliveries.summaries import end_summary, send_summary_again
from openvolt_events.preferences import reading_fields
from openvolt_events.recipients import browsers_reader, say
from openvolt_events.token_pages import TokenPage
from subscriptions.links import BrokenLink, application_and_contact, contact_id


class ContactPage(TokenPage):
    purpose: str  # of the link

    def answer(self, request: HttpRequest, token: str, act: Any) -> HttpResponse:
        """Only for somebody who is still a contact, in their language; otherwise say what is wrong with the link."""
        try:
            application, email = contact_of(self.purpose, token)
        except BrokenLink:
            return say(request, "recipients/broken.html", browsers_reader(request), status=404)
        if application is None:
            return say(request, "recipients/nothing_to_do.html", browsers_reader(request))
        with Reader(*application.reads(email)).language_on():
            return act(request, application, email)


class SummaryPage(ContactPage):
    """What mail programs post (RFC 8058) ends the weekly summary; a button gets it again."""

    purpose = "summary"

    def page(self, request: HttpRequest, application: Application, email: str) -> HttpResponse:
        ended = email not in application.summary_contacts
        return show(request, "contacts/summary.html", application, email, ended=ended)

    def change(self, request: HttpRequest, application: Application, email: str) -> HttpResponse:
        act = send_summary_again if "again" in request.POST else end_summary
        act(application.id, email)
        application.refresh_from_db()
        return self.page(request, application, email)


class ReadingForm(forms.Form):
    timezone, language = reading_fields()


class ReadingPage(ContactPage):
    """In which language, and which time zone, the contact is told."""

    purpose = "reading"

    def page(self, request: HttpRequest, application: Application, email: str) -> HttpResponse:
        return show(request, "contacts/reading.html", application, email, form=form_of(application, email))

    def change(self, request: HttpRequest, application: Application, email: str) -> HttpResponse:
        form = ReadingForm(request.POST)
        if not form.is_valid():
            return show(request, "contacts/reading.html", application, email, status=422, form=form)
        application.let_read(email, **form.cleaned_data)
        with Reader(*application.reads(email)).language_on():  # it may be another one now
            form = form_of(application, email)
            return show(request, "contacts/reading.html", application, email, form=form, saved=True)


def form_of(application: Application, email: str) -> ReadingForm:
    timezone, language = application.reads(email)
    return ReadingForm(initial={"timezone": timezone, "language": language})


def show(
    request: HttpRequest, template: str, application: Application, email: str, status: int = 200, **more: Any
) -> HttpResponse:
    return render(request, template, {"application": application, "email": email, **more}, status=status)


def contact_of(purpose: str, token: str) -> tuple[Application | None, str]:
    """The application, and the contact's address; no application if the address is none of its contacts any more."""
    id, contact = application_and_contact(purpose, token)
    application = Application.objects.filter(pk=id).first()
    for email in application.contacts if application else ():
        if contact_id(id, email) == contact:
            return application, email
    return None, ""
