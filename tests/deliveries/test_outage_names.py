"""Which of several subscriptions to one host an email about its outage is about."""

import pytest

from deliveries.failing import tell_gone
from deliveries.lifecycle import disable
from deliveries.mailing import send_notices
from deliveries.models import Case
from deliveries.notices import GATHER_FOR
from tests.support import factories
from tests.support.cases import LINK, text_of
from tests.support.smtp import mail_server

pytestmark = pytest.mark.django_db

URL = "https://hooks.example.com/in?token=hush-hush"


@pytest.mark.parametrize(
    ("description", "named"),
    [
        ("CRM", "CRM (hooks.example.com)"),
        ("", "hooks.example.com"),
        ("Billing of evil.com " + "x" * 200, f"Billing of evil.com {'x' * 19}… (hooks.example.com)"),
    ],
    ids=["described", "not described", "long"],
)
def test_the_subject_and_the_sentence_name_the_subscription_as_its_people_do(
    owner, clock, description, named
):
    for each in (description, "Another one"):
        subscription = factories.webhook(owner, URL, description=each)
        disable(subscription, clock(), "gone")
        if each == description:
            tell_gone(subscription, clock())
    clock.forward(GATHER_FOR)

    with mail_server() as mailbox:
        send_notices(clock)

    message = mailbox.message()
    assert message["subject"] == f"Webhooks to {named} are disabled"
    text = text_of(message).replace("\u200b", "")
    assert f"The subscription that tells {named} what happens in Green Homes was disabled on " in " ".join(
        text.split()
    )
    assert "hush-hush" not in text
    assert len(set(LINK.findall(text))) == Case.objects.count() == 1
