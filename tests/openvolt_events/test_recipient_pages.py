"""The pages behind the links in emails."""

import re
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import time_machine
from django.core import mail
from django.test import Client, override_settings
from django.utils import timezone
from playwright.sync_api import Page

from deliveries.dispatch import drain
from deliveries.lifecycle import confirm_recipient, delete_subscription, set_recipients
from deliveries.mailing import send_notices
from deliveries.models import Delivery, Notice
from deliveries.publishing import publish
from openvolt_events.demo import mailbox
from subscriptions.links import confirm_link, preferences_link, unsubscribe_link
from subscriptions.models import Recipient, Subscription
from tests.support import factories
from tests.support.browser import Sizes, seen_at
from tests.support.smtp import mail_server

pytestmark = pytest.mark.django_db

SAME_IN_BOTH = {
    "Openvolt Events",
    "ann@example.org",
    "Green &amp; &lt;b&gt;Homes&lt;/b&gt;",
    "ann@example.org · Green &amp; &lt;b&gt;Homes&lt;/b&gt;",
}
BROKEN = ("/recipients/confirm/nonsense", "/recipients/unsubscribe/nonsense")


@pytest.fixture
def browser_without_past() -> Client:
    """Enforces CSRF, as browsers' requests do."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def ann() -> Recipient:
    return recipient_of(factories.emails(factories.application("Green & <b>Homes</b>")))


def recipient_of(subscription: Subscription) -> Recipient:
    return subscription.recipients.get()


def path(link: str) -> str:
    return urlsplit(link).path


def status(recipient: Recipient) -> str:
    recipient.refresh_from_db()
    return recipient.status


def set_status(recipient: Recipient, status: str) -> None:
    Recipient.objects.filter(pk=recipient.pk).update(status=status)


def words(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_the_link_from_the_email_shows_a_page_whose_button_confirms(browser_without_past, ann):
    send_notices(timezone.now)
    link, *_ = mailbox.LINK.findall(str(mail.outbox[0].body))

    page = browser_without_past.get(path(link))
    assert status(ann) == "unconfirmed"
    form = mailbox.Form(page.content.decode())
    assert form.action == ""

    answer = browser_without_past.post(path(link), form.fields)
    assert answer.status_code == 200
    assert "You get these emails" in words(answer)
    assert status(ann) == "confirmed"


def test_what_was_held_goes_out_on_confirmation(client, ann):
    publish(ann.subscription.application, "user.created", factories.example("user.created"))

    client.post(path(confirm_link(ann.id)))

    assert Delivery.objects.get(recipient=ann).status == "pending"


def test_much_that_was_held_goes_out_on_confirmation_in_one_email(client, ann):
    for _ in range(9):
        publish(ann.subscription.application, "user.created", factories.example("user.created"))

    client.post(path(confirm_link(ann.id)))
    with mail_server() as mailbox:
        drain("email", lambda: timezone.now() + timedelta(seconds=1))

    assert len(mailbox.messages()) == 1
    assert {*Delivery.objects.values_list("status", flat=True)} == {"succeeded"}


def test_the_pages_name_the_address_the_application_and_what_is_wanted(client):
    ann = recipient_of(
        factories.emails(factories.application(), types=["meter.created"], description="Ops team")
    )

    for link in (confirm_link(ann.id), unsubscribe_link(ann.id)):
        page = words(client.get(path(link)))
        assert "ann@example.org" in page
        assert "Green Homes" in page
        assert "Ops team" in page
        assert "A meter was added." in page
        assert "A customer was added." not in page
        assert "Everything" not in page


def test_a_subscription_to_everything_is_called_that(client, ann):
    assert "Everything that happens" in words(client.get(path(confirm_link(ann.id))))


def test_who_does_not_want_to_be_asked_is_not_asked_again_by_this_application(browser_without_past, ann):
    owner = ann.subscription.application
    other = recipient_of(factories.emails(owner, ["Ann@Example.org"]))
    publish(owner, "user.created", factories.example("user.created"))
    send_notices(timezone.now)
    [link] = {*re.findall(r"https?://\S+/unsubscribe/\S+", str(mail.outbox[0].body))}
    assert mail.outbox[0].extra_headers["List-Unsubscribe"] == f"<{link}>"

    assert "Do not ask me again" in words(browser_without_past.get(path(link)))
    answer = browser_without_past.post(path(link))

    assert "cannot ask you again" in words(answer)
    assert [status(ann), status(other)] == ["unsubscribed"] * 2
    assert {*Delivery.objects.values_list("status", flat=True)} == {"cancelled"}
    again = recipient_of(factories.emails(owner))
    elsewhere = recipient_of(factories.emails(factories.application("Another")))
    assert [status(again), status(elsewhere)] == ["unsubscribed", "unconfirmed"]
    assert not Notice.objects.filter(recipient=again).exists()
    browser_without_past.post(path(confirm_link(ann.id)))
    assert status(recipient_of(factories.emails(owner, [ann.email]))) == "unsubscribed"


def test_who_unsubscribes_from_what_was_confirmed_can_still_be_asked_about_something_else(client, ann):
    confirm_recipient(ann, timezone.now())

    client.post(path(unsubscribe_link(ann.id)))

    assert status(recipient_of(factories.emails(ann.subscription.application))) == "unconfirmed"


def test_names_are_escaped(client, ann):
    page = client.get(path(confirm_link(ann.id))).content.decode()

    assert "Green &amp; &lt;b&gt;Homes&lt;/b&gt;" in page
    assert "<b>" not in page


@pytest.mark.parametrize("method", ["get", "head", "options"])
@pytest.mark.parametrize("state", Recipient.Status.values)
def test_looking_changes_nothing(client, ann, method, state):
    set_status(ann, state)

    for link in (confirm_link(ann.id), unsubscribe_link(ann.id)):
        assert getattr(client, method)(path(link)).status_code == 200

    assert status(ann) == state


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_refused(client, ann, method):
    assert getattr(client, method)(path(unsubscribe_link(ann.id))).status_code == 405


def test_the_button_unsubscribes_and_cancels_what_was_to_come(browser_without_past, ann):
    confirm_recipient(ann, timezone.now())
    publish(ann.subscription.application, "user.created", factories.example("user.created"))

    answer = browser_without_past.post(path(unsubscribe_link(ann.id)))

    assert answer.status_code == 200
    assert "You are unsubscribed" in words(answer)
    assert status(ann) == "unsubscribed"
    assert Delivery.objects.get(recipient=ann).status == "cancelled"


def test_a_mail_program_unsubscribes_with_one_click(browser_without_past, ann):
    confirm_recipient(ann, timezone.now())

    answer = browser_without_past.post(
        path(unsubscribe_link(ann.id)),
        "List-Unsubscribe=One-Click",
        content_type="application/x-www-form-urlencoded",
    )

    assert answer.status_code == 200  # RFC 8058: no redirect
    assert answer.cookies == {}
    assert status(ann) == "unsubscribed"


def test_one_click_in_a_multipart_form_works_and_again_changes_nothing(client, ann):
    for _ in range(2):
        answer = client.post(path(unsubscribe_link(ann.id)), {"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200

    assert status(ann) == "unsubscribed"


def test_who_unsubscribed_by_mistake_can_come_back(client, ann):
    page = client.post(path(unsubscribe_link(ann.id))).content.decode()
    [back] = re.findall(r'href="(http[^"]*/confirm/[^"]+)"', page)

    assert "Do you want these emails?" in words(client.get(path(back)))
    client.post(path(back))

    assert status(ann) == "confirmed"


def test_a_suppressed_address_cant_be_confirmed_and_the_page_says_so(client, ann):
    set_status(ann, "suppressed")

    page = client.get(path(confirm_link(ann.id)))
    assert "be confirmed" in words(page)
    assert "<form" not in page.content.decode()
    assert client.post(path(confirm_link(ann.id))).status_code == 409
    assert status(ann) == "suppressed"


def test_unsubscribing_does_not_lift_a_suppression(client, ann):
    set_status(ann, "suppressed")

    assert client.post(path(unsubscribe_link(ann.id))).status_code == 200
    assert status(ann) == "suppressed"


def test_an_expired_link_says_so_and_changes_nothing(client, ann):
    link = path(confirm_link(ann.id))

    with time_machine.travel(timezone.now() + timedelta(days=31)):
        for answer in (client.get(link), client.post(link)):
            assert answer.status_code == 410
            assert "too old" in words(answer)
    assert status(ann) == "unconfirmed"


def test_a_broken_link_or_one_for_another_purpose_says_so_and_changes_nothing(client, ann):
    foreign = [
        path(confirm_link(ann.id)).replace("/confirm/", "/unsubscribe/"),
        path(unsubscribe_link(ann.id)).replace("/unsubscribe/", "/confirm/"),
    ]
    for link in (*BROKEN, *foreign):
        for answer in (client.get(link), client.post(link)):
            assert answer.status_code == 404
            assert "A part of it may be missing" in words(answer)
    assert status(ann) == "unconfirmed"


def test_a_removed_recipient_has_nothing_to_do(client, ann):
    set_recipients(ann.subscription, ["bob@example.org"], timezone.now())

    nothing_to_do(client, ann)


def test_a_recipient_of_a_deleted_subscription_has_nothing_to_do(client, ann):
    delete_subscription(ann.subscription, timezone.now())

    nothing_to_do(client, ann)


def test_an_unknown_recipient_has_nothing_to_do(client):
    answer = client.get(path(unsubscribe_link(uuid4())))

    assert "There is nothing to do" in words(answer)


def nothing_to_do(client: Client, recipient: Recipient) -> None:
    for link in (confirm_link(recipient.id), unsubscribe_link(recipient.id)):
        for answer in (client.get(path(link)), client.post(path(link))):
            assert answer.status_code == 200
            assert "There is nothing to do" in words(answer)
            assert recipient.email not in words(answer)
    assert status(recipient) == "unconfirmed"


def test_the_pages_are_for_nobody_else(client, ann):
    for link in (path(confirm_link(ann.id)), path(unsubscribe_link(ann.id)), *BROKEN):
        headers = client.get(link).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-robots-tag"] == "noindex, nofollow"
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "set-cookie" not in headers


@pytest.mark.django_db(transaction=True)
def test_the_whole_way_from_the_question_to_the_event_and_out_again(client, tmp_path):
    ann = recipient_of(factories.emails(factories.application()))
    event = publish(ann.subscription.application, "user.created", factories.example("user.created"))
    inbox = mailbox.Mailbox(tmp_path, "ann@example.org")

    with override_settings(
        EMAIL_BACKEND="deliveries.channels.eml.EmailBackend", EMAIL_FILE_PATH=str(tmp_path)
    ):
        drain("email")
        link = inbox.confirmation_link()
        assert link
        assert inbox.receipts() == []
        client.post(path(link))
        drain("email")

    [receipt] = inbox.receipts()
    assert receipt.document["payload"] == event.payload_json
    told = inbox.messages()[-1]
    client.post(path(told["list-unsubscribe"].strip("<>")), {"List-Unsubscribe": "One-Click"})
    assert status(ann) == "unsubscribed"
    assert Delivery.objects.get().status == "succeeded"


SIZES: Sizes = [(390, "dark"), (390, "light"), (1280, "light"), (1280, "dark"), (1920, "light")]


@pytest.mark.django_db(transaction=True)
def test_every_page_fits_and_keeps_to_the_policy(live_server, small_page: Page) -> None:
    page = small_page
    owner = factories.application("A name that is as long as the names of companies sometimes are, Ltd")
    ann = recipient_of(factories.emails(owner, [f"{'a' * 60}@{'long.' * 20}example.org"]))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    foreign: list[str] = []
    page.on(
        "request", lambda sent: foreign.append(sent.url) if not is_own(sent.url, live_server.url) else None
    )

    for state in Recipient.Status.values:
        set_status(ann, state)
        for link in (confirm_link(ann.id), unsubscribe_link(ann.id)):
            page.goto(live_server.url + path(link))
            assert page.locator("h1").count() == 1
            for width in seen_at(page, SIZES):
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.evaluate("getComputedStyle(document.querySelector('main')).borderRadius") == "8px"
    assert complaints == []
    assert foreign == []


def is_own(url: str, own: str) -> bool:
    return url.startswith((own, "data:"))


@pytest.mark.django_db(transaction=True)
def test_an_address_is_confirmed_with_the_keyboard_alone(live_server, page: Page) -> None:
    ann = recipient_of(factories.emails(factories.application()))
    page.goto(live_server.url + path(confirm_link(ann.id)))

    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")

    page.get_by_role("heading", name="You get these emails").wait_for()
    assert status(ann) == "confirmed"


@pytest.mark.parametrize("state", Recipient.Status.values)
def test_every_page_speaks_the_recipients_language_and_no_word_is_left_in_english(client, ann, state):
    set_status(ann, state)

    for link in (confirm_link(ann.id), unsubscribe_link(ann.id), preferences_link(ann.id)):
        english, german = (in_language(client, ann, path(link), language) for language in ("en", "de"))
        assert '<html lang="en">' in english
        assert '<html lang="de">' in german
        assert texts(english) & texts(german) <= SAME_IN_BOTH


def in_language(client: Client, recipient: Recipient, link: str, language: str) -> str:
    Recipient.objects.filter(pk=recipient.pk).update(language=language)
    return client.get(link, headers={"accept-language": "fr"}).content.decode()


def texts(page: str) -> set[str]:
    """What a page says, in the pieces that its markup makes of it; without the names of times and zones."""
    without_lists = re.sub(r"<select.*?</select>", "", page, flags=re.DOTALL)
    return {
        words for piece in re.split(r"<[^>]+>", without_lists) if len(words := " ".join(piece.split())) > 1
    }


def test_who_was_removed_is_told_so_in_their_language(client, ann):
    Recipient.objects.filter(pk=ann.pk).update(language="de", removed_at=timezone.now())

    assert "Es gibt nichts zu tun" in words(client.get(path(unsubscribe_link(ann.id))))


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        ("de-AT,en;q=0.5", "de"),
        ("fr, de;q=0.8, en;q=0.3", "de"),
        ("en-GB, de;q=0.9", "en"),
        ("de;q=0, fr", "en"),
        ("fr", "en"),
        ("*", "en"),
        ("", "en"),
        ("de;q=many, ;;;", "en"),
        ("../../de\N{NULL}" * 500, "en"),
    ],
)
def test_where_nobody_is_known_the_page_speaks_what_the_browser_asks_for(client, ann, asked, spoken):
    asking = {"accept-language": asked}
    answers = [client.get(link, headers=asking) for link in (*BROKEN, path(unsubscribe_link(uuid4())))]
    expiring = path(confirm_link(ann.id))
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        answers.append(client.get(expiring, headers=asking))

    for answer in answers:
        assert f'<html lang="{spoken}">' in answer.content.decode()
        assert ("Nothing" in words(answer) or "nothing" in words(answer)) == (spoken == "en")
