"""What the page says to who has unsubscribed is what is so."""

from urllib.parse import urlsplit

import pytest

from deliveries.lifecycle import choose, confirm_recipient
from deliveries.models import Delivery
from deliveries.publishing import publish
from subscriptions.links import unsubscribe_link
from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db

GONE = {
    "en": "What waited to be sent to you is not sent, nor is what happens until you turn them on again.",
    "de": "Was noch auf den Versand wartete, wird nicht mehr gesendet, auch nicht, was bis dahin geschieht.",
}


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_had_gathered_is_gone_and_the_page_says_so(client, clock, language):
    subscription = factories.confirmed_emails(factories.application())
    ann = subscription.recipients.get()
    choose(ann, {"frequency": "daily", "language": language}, clock())
    publish(subscription.application, "user.created", factories.example("user.created"))

    page = client.post(urlsplit(unsubscribe_link(ann.id)).path).content.decode()

    assert GONE[language] in page
    confirm_recipient(Recipient.objects.get(), clock())
    assert Delivery.objects.get().status == "cancelled"
