"""The signed links in emails open what they are for, and nothing else."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import time_machine
from django.core.signing import Signer, TimestampSigner
from django.test import override_settings
from django.urls import resolve

from subscriptions.links import (
    BrokenLink,
    ExpiredLink,
    confirm_link,
    recipient_to_confirm,
    recipient_to_unsubscribe,
    unsubscribe_link,
)

ANN = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
SENT = datetime(2026, 11, 2, 16, 5, tzinfo=UTC)


def token_of(link: str) -> str:
    return link.rpartition("/")[2]


def test_a_link_leads_to_its_page_on_our_own_host_and_names_its_recipient():
    assert confirm_link(ANN).startswith("http://localhost:8000/")
    assert resolve(urlsplit(confirm_link(ANN)).path).view_name == "confirm-recipient"
    assert resolve(urlsplit(unsubscribe_link(ANN)).path).view_name == "unsubscribe-recipient"
    assert recipient_to_confirm(token_of(confirm_link(ANN))) == ANN
    assert recipient_to_unsubscribe(token_of(unsubscribe_link(ANN))) == ANN


def test_a_link_keeps_the_path_of_the_public_url():
    with override_settings(PUBLIC_URL="https://events.example/openvolt"):
        assert confirm_link(ANN).startswith("https://events.example/openvolt/recipients/confirm/")


def test_a_link_of_one_purpose_does_not_open_another():
    with pytest.raises(BrokenLink):
        recipient_to_unsubscribe(token_of(confirm_link(ANN)))
    with pytest.raises(BrokenLink):
        recipient_to_confirm(token_of(unsubscribe_link(ANN)))


def test_something_else_that_was_signed_with_the_same_key_opens_nothing():
    for foreign in (Signer(sep=".").sign(ANN.hex), TimestampSigner(sep=".").sign(ANN.hex)):
        with pytest.raises(BrokenLink):
            recipient_to_confirm(foreign)
        with pytest.raises(BrokenLink):
            recipient_to_unsubscribe(foreign)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token + "=",
        lambda token: token.swapcase(),
        lambda token: token.replace(ANN.hex, uuid4().hex),
        lambda token: token.partition(".")[0],
        lambda token: "é" + token[1:],
        lambda token: token * 1000,
        lambda token: ".",
    ],
)
def test_a_changed_link_opens_nothing(tamper):
    with pytest.raises(BrokenLink):
        recipient_to_confirm(tamper(token_of(confirm_link(ANN))))
    with pytest.raises(BrokenLink):
        recipient_to_unsubscribe(tamper(token_of(unsubscribe_link(ANN))))


def test_a_confirm_link_works_for_thirty_days():
    with time_machine.travel(SENT, tick=False):
        token = token_of(confirm_link(ANN))

    with time_machine.travel(SENT + timedelta(days=29, hours=23), tick=False):
        assert recipient_to_confirm(token) == ANN
    with time_machine.travel(SENT + timedelta(days=30, minutes=1), tick=False), pytest.raises(ExpiredLink):
        recipient_to_confirm(token)


def test_an_unsubscribe_link_works_for_ever():
    with time_machine.travel(SENT, tick=False):
        token = token_of(unsubscribe_link(ANN))

    with time_machine.travel(SENT + timedelta(days=3650), tick=False):
        assert recipient_to_unsubscribe(token) == ANN


def test_links_outlive_a_change_of_the_secret_key_when_the_old_one_is_a_fallback():
    token = token_of(unsubscribe_link(ANN))

    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["only-for-tests-of-whatever-they-are"]):
        assert recipient_to_unsubscribe(token) == ANN
    with override_settings(SECRET_KEY="new"), pytest.raises(BrokenLink):
        recipient_to_unsubscribe(token)
