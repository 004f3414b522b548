"""What recipients' pages say at the top of the window, and where they lead, in states that are easily forgotten."""

import re
from urllib.parse import urlsplit

import pytest
from django.test import Client

from subscriptions.links import confirm_link, preferences_link, unsubscribe_link
from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann() -> Recipient:
    return factories.confirmed_emails(factories.application()).recipients.get()


@pytest.mark.parametrize("status", Recipient.Status.values)
@pytest.mark.parametrize("link", [confirm_link, unsubscribe_link])
def test_the_title_says_what_the_page_says(client: Client, ann: Recipient, status: str, link) -> None:
    Recipient.objects.update(status=status)

    content = client.get(urlsplit(link(ann.id)).path).content.decode()

    asks = "<button" in content
    assert asks is (
        re.search("<title>(Confirm your address|Unsubscribe|Do not ask me again) ", content) is not None
    )


def test_who_is_unsubscribed_is_led_to_where_emails_are_turned_on_again(
    client: Client, ann: Recipient
) -> None:
    Recipient.objects.update(status="unsubscribed")

    content = client.get(urlsplit(preferences_link(ann.id)).path).content.decode()

    assert "Get them again" in content
    assert "/recipients/confirm/" in content
