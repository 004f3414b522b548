"""What a person sees when a page is not there, may not be seen, or failed."""

import re
from typing import Literal

import pytest
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client, RequestFactory
from playwright.sync_api import Browser

from accounts.models import User
from openvolt_events.api import problems
from tests.deliveries.test_email_layout import CONTRAST, FAINT

SIZES = [(390, "dark"), (390, "light"), (1280, "dark")]


@pytest.fixture
def viewer() -> Client:
    """Somebody of the staff who may do nothing."""
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_user("viewer", is_staff=True))
    return client


def title_and_heading(content: str) -> tuple[str, str]:
    [title], [heading] = (re.findall(rf"<{tag}>(.*?)</{tag}>", content) for tag in ("title", "h1"))
    return title, heading


def test_an_address_that_is_not_there_says_so_and_where_to_go(client: Client) -> None:
    answer = client.get("/nothing-here")

    assert answer.status_code == 404
    assert title_and_heading(answer.content.decode()) == (
        "There is nothing here – Openvolt Events",  # noqa: RUF001
        "There is nothing here",
    )
    assert 'href="/docs/"' in answer.content.decode()


@pytest.mark.django_db
def test_who_may_not_see_a_page_is_told_whom_to_ask(viewer: Client) -> None:
    answer = viewer.get("/admin/events/event/")

    assert answer.status_code == 403
    assert "Ask somebody with the role" in answer.content.decode()
    assert 'href="/admin/"' in answer.content.decode()


@pytest.mark.django_db
def test_a_form_that_is_older_than_the_session_says_what_to_do(client: Client) -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})

    assert answer.status_code == 403
    assert "This page was open for too long" in answer.content.decode()
    assert "<style" not in answer.content.decode()  # which the policy would refuse


def words_of(answer: HttpResponseBase) -> str:
    assert isinstance(answer, HttpResponse)
    return answer.content.decode()


def test_a_fault_of_ours_is_called_one() -> None:
    answer = problems.server_error(RequestFactory().get("/admin/"))

    assert answer.status_code == 500
    assert "The fault is ours" in words_of(answer)
    assert "/static/pages" in words_of(answer)


def test_a_malformed_request_is_called_one() -> None:
    answer = problems.bad_request(RequestFactory().get("/"), ValueError("secret"))

    assert answer.status_code == 400
    assert "is malformed" in words_of(answer)
    assert "secret" not in words_of(answer)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_they_fit_and_can_be_read(
    live_server, browser: Browser, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

    page.goto(f"{live_server.url}/nothing-here")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT, CONTRAST)["found"] == []
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is (scheme == "dark")
    assert page.evaluate(
        "parseInt(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]) < 60"
    ) is (scheme == "dark")
    assert [one for one in complaints if "404" not in one] == []  # that one is the answer itself
    context.close()
