"""A worker process is killed when the mail server has a digest, and nobody has written that down."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from deliveries.lifecycle import choose
from deliveries.models import Attempt, Delivery
from tests.deliveries.test_digests import happen, statuses, told
from tests.support import factories
from tests.support.running import wait_for
from tests.support.smtp import mail_server
from tests.support.workers import Cluster

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]


def test_the_same_email_with_the_same_members_goes_out_again_and_nothing_is_lost(tmp_path):
    ann = factories.confirmed_emails(factories.application()).recipients.get()
    choose(ann, {"frequency": "daily", "digest_hour": (timezone.now().hour + 12) % 24}, timezone.now())
    made = happen(ann)
    killed = asyncio.Event()

    with mail_server() as mailbox:

        async def keep(server: Any, session: Any, envelope: Any) -> str:
            mailbox.envelopes.append(envelope)
            while len(mailbox.envelopes) == 1 and not killed.is_set():
                await asyncio.sleep(0.05)
            return "250 2.0.0 queued"

        mailbox.handle_DATA = keep  # type: ignore[method-assign]
        where = f"smtp://127.0.0.1:{settings.EMAIL_PORT}"
        with Cluster(tmp_path, EMAIL_URL=where) as first:
            Delivery.objects.update(next_attempt_at=timezone.now())  # its moment has come
            wait_for(lambda: bool(mailbox.envelopes), 30, lambda: first.said)
            first.kill()
        killed.set()
        names = {each.digest for each in Delivery.objects.all()}
        assert (statuses(), Attempt.objects.count(), len(names)) == ({"pending"}, 0, 1)

        Delivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))  # the lease has run out
        with Cluster(tmp_path, EMAIL_URL=where) as second:
            wait_for(lambda: statuses() == {"succeeded"}, 30, lambda: second.said)

    once, again = mailbox.messages()
    assert once["message-id"] == again["message-id"]
    assert told(mailbox) == [[str(each.pk) for each in made]] * 2
    assert sorted(Attempt.objects.values_list("delivery", "number")) == [(each.pk, 1) for each in made]
