"""The operators' preview of emails: any type, with its example or with an event, and what who may see of it."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from playwright.sync_api import Browser

from accounts.models import User
from deliveries.letters.reader import LANGUAGES
from deliveries.publishing import publish
from events.event_types import EVENT_TYPES
from events.models import Event
from tests.openvolt_events.test_admin_browser import SIZES, sign_in
from tests.support import factories

pytestmark = pytest.mark.django_db

PAGE, FRAME = "/admin/emails/", "/admin/emails/html"


@pytest.fixture
def event() -> Event:
    payload = EVENT_TYPES["customer.created"].example | {"name": "Zoë <script>alert(1)</script>"}
    return publish(factories.application(), "customer.created", payload)


def viewer() -> Client:
    user = User.objects.create_user("viewer-person", is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    return client


def both(client: Client, **query: Any) -> str:
    """The page and the frame, as text."""
    answers = [client.get(path, query) for path in (PAGE, FRAME)]
    assert [answer.status_code for answer in answers] == [200, 200]
    return "\n".join(answer.content.decode() for answer in answers)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_each_type_is_shown_with_its_example_in_each_language(
    admin_client: Client, event_type: str, language: str
) -> None:
    shown = admin_client.get(
        FRAME, {"type": event_type, "language": language, "timezone": "Europe/Berlin"}
    ).content.decode()

    assert f'lang="{language}"' in shown
    assert "Europe/Berlin" in shown


@pytest.mark.parametrize("query", [{}, {"type": "", "event": ""}])
def test_without_a_type_and_an_event_the_first_types_example_is_shown(
    admin_client: Client, query: dict[str, str]
) -> None:
    page = admin_client.get(PAGE, query)

    assert f"<dd>{next(iter(EVENT_TYPES))}</dd>" in page.content.decode()
    assert "<iframe" in page.content.decode()
    assert "Green Homes" in admin_client.get(FRAME, query).content.decode()


def test_an_event_is_shown_as_its_own_letter_and_as_that_of_another_type(
    admin_client: Client, event: Event
) -> None:
    own = both(admin_client, event=event.id)
    other = both(admin_client, event=event.id, type="meter.created")

    assert "Zoë" in own
    assert str(event.id) in own
    assert "customer.created" in own
    assert f"Event {event.id} (meter.created)" in other
    assert "<script>alert" not in own + other


def test_an_event_that_is_pasted_into_the_first_page_is_shown_as_what_it_is(
    admin_client: Client, event: Event
) -> None:
    first = admin_client.get(PAGE).context["form"]
    as_pasted = {field.name: field.value() or "" for field in first} | {"event": event.id}

    shown = admin_client.get(PAGE, as_pasted)

    assert "Zoë" in shown.context["preview"].wording.subject
    assert shown.context["preview"].type == "customer.created"
    assert "<dd>customer.created</dd>" in shown.content.decode()


def test_the_page_of_an_event_leads_to_its_email(admin_client: Client, event: Event) -> None:
    page = admin_client.get(f"/admin/events/event/{event.id}/change/").content.decode()

    assert f'href="{PAGE}?event={event.id}"' in page
    assert f'href="{PAGE}"' in admin_client.get("/admin/").content.decode()


def test_who_may_not_see_payloads_gets_the_example(event: Event) -> None:
    shown = both(viewer(), event=event.id)

    assert "Zoë" not in shown
    assert EVENT_TYPES["customer.created"].example["name"] in shown
    assert "Payloads are not shown to viewers" in shown


def test_who_may_not_see_payloads_gets_nothing_of_a_type_without_an_example(event: Event) -> None:
    unknown = Event.objects.create(
        application=event.application,
        type="tariff.changed",
        occurred_at=event.occurred_at,
        payload='{"tariff": "Zoë"}',
    )
    client = viewer()

    assert "Zoë" not in client.get(PAGE, {"event": str(unknown.id)}).content.decode()
    assert client.get(FRAME, {"event": str(unknown.id)}).status_code == 404


def test_who_may_see_no_events_gets_no_preview() -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))

    assert [client.get(path).status_code for path in (PAGE, FRAME)] == [403, 403]
    assert [Client().get(path).status_code for path in (PAGE, FRAME)] == [302, 302]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"event": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"}, "There is no event"),
        ({"event": "x"}, "Enter a valid UUID"),
        ({"type": "x"}, "Select a valid choice"),
        ({"type": "user.created", "language": "tlh"}, "Select a valid choice"),
    ],
)
def test_what_can_not_be_shown_says_why(admin_client: Client, query: dict[str, str], complaint: str) -> None:
    page = admin_client.get(PAGE, query)

    assert page.status_code == 200
    assert complaint in page.content.decode()
    assert "<iframe" not in page.content.decode()
    assert admin_client.get(FRAME, query).status_code == 404


@pytest.mark.parametrize("event_type", ["customer.created", "hosted_consent.revoked"])
def test_the_links_in_a_preview_are_nobodys(admin_client: Client, event: Event, event_type: str) -> None:
    shown = both(admin_client, event=event.id, type=event_type) + both(admin_client, type=event_type)

    links = {*re.findall(r'href="[^"]+(/(?:recipients|cases)/[^"]+)"', shown)}
    assert links
    for link in links:
        assert "nothing" in Client().get(link).content.decode().lower()


def test_only_the_frame_lets_styles_through_and_it_lets_nothing_else(
    admin_client: Client, event: Event
) -> None:
    page = admin_client.get(PAGE).headers
    frame = admin_client.get(FRAME).headers

    assert "unsafe" not in page["content-security-policy"]
    assert "frame-src 'self'" in page["content-security-policy"]
    assert frame["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; sandbox; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'self'"
    )
    assert frame["x-frame-options"] == "SAMEORIGIN"
    assert "no-store" in frame["cache-control"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_preview_fits_and_the_email_is_seen_in_its_frame(
    live_server, browser: Browser, event: Event, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    complaints = sign_in(page, live_server.url)

    page.goto(f"{live_server.url}{PAGE}?event={event.id}")

    heading = page.frame_locator("iframe").get_by_role("heading", level=1)
    heading.wait_for()
    assert "Zoë" in heading.inner_text()
    assert heading.evaluate("element => getComputedStyle(element).fontSize") in {"22px", "19px"}
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    context.close()
