"""The code of docs/webhooks.md is run, with webhooks that the service has signed and sent."""

import os
import socket
import subprocess
import sys
from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from deliveries import lifecycle
from deliveries.channels import connections
from deliveries.dispatch import drain
from deliveries.models import Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.languages import CSHARP, GO, NODE, PHP, PYTHON, RUBY, Language
from tests.support.pages import Block, blocks, table, text_of
from tests.support.receivers import Received, Receiver
from tests.support.running import free_port, wait_for
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

PAGE = text_of("webhooks.md")
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Given:
    """A webhook as a receiver gets it, the secret it has, and whether it should take it."""

    what: str
    is_genuine: bool
    secret: str
    id: str
    timestamp: str
    signature: str
    body: bytes

    @property
    def line(self) -> str:
        body = b64encode(self.body).decode()
        return "\t".join([self.secret, self.id, self.timestamp, self.signature, body])


@pytest.fixture(autouse=True)
def new_connections():
    connections.shared.adapters.clear()


class Sending:
    """A subscription, and what its receiver gets when something is published for it."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.clock = Clock()
        self.owner = factories.application()
        self.subscription = factories.webhook(self.owner, receiver.url)
        self.secret = self.subscription.secrets.get().secret

    def rotate(self, overlap: timedelta) -> str:
        self.clock.forward(timedelta(seconds=1))
        return lifecycle.rotate_secret(self.subscription, overlap, self.clock())

    def published(self, payload: object, at: timedelta = timedelta(0)) -> Received:
        """What was sent by a worker whose clock is that much ahead."""
        event = publish(self.owner, "user.created", payload)
        now = self.clock() + at
        Delivery.objects.filter(event=event).update(next_attempt_at=now)
        assert drain("webhook", lambda: now) == 1
        return self.receiver.requests[-1]


def given(request: Received, secret: str, what: str, is_genuine: bool) -> Given:
    headers = request.headers
    return Given(
        what,
        is_genuine,
        secret,
        headers["webhook-id"],
        headers["webhook-timestamp"],
        headers["webhook-signature"],
        request.body,
    )


@pytest.fixture
def webhooks():
    """Some of each kind that a receiver has to tell apart."""
    with Receiver() as receiver:
        sending = Sending(receiver)
        first, odd = sending.secret, factories.example("user.created") | {"name": "Zoë 🔌 \u2028", "n": 1.0}
        plain = given(sending.published(factories.example("user.created")), first, "as it came", True)
        unusual = given(sending.published(odd), first, "with odd letters and numbers", True)
        old = sending.published(odd, at=-6 * MINUTE)
        ahead = sending.published(odd, at=6 * MINUTE)
        second = sending.rotate(timedelta(days=1))
        during = sending.published(odd)
        third = sending.rotate(timedelta(0))
        after = sending.published(odd)
    return [
        plain,
        unusual,
        replace(plain, what="another body", is_genuine=False, body=plain.body.replace(b'"', b"'", 1)),
        replace(plain, what="a longer body", is_genuine=False, body=plain.body + b" "),
        replace(plain, what="another's body", is_genuine=False, body=unusual.body),
        replace(plain, what="another id", is_genuine=False, id=unusual.id),
        replace(plain, what="another time", is_genuine=False, timestamp=str(int(plain.timestamp) - 1)),
        replace(plain, what="no time", is_genuine=False, timestamp=""),
        replace(plain, what="a time that is none", is_genuine=False, timestamp="soon"),
        replace(plain, what="no signature", is_genuine=False, signature=""),
        replace(plain, what="a stump of a signature", is_genuine=False, signature=plain.signature[:-9]),
        replace(plain, what="another version", is_genuine=False, signature="v2" + plain.signature[2:]),
        replace(plain, what="one that fits among others", signature=f"v1a,eA== v1,eA== {plain.signature}"),
        given(old, first, "sent six minutes ago", False),
        given(ahead, first, "sent in six minutes", False),
        given(during, first, "with the old secret, in the overlap", True),
        given(during, second, "with the new secret, in the overlap", True),
        given(after, first, "with a secret from long ago", False),
        given(after, second, "with the secret that was revoked", False),
        given(after, third, "with the secret that is valid", True),
    ]


SVIX = """
import json

from svix.webhooks import Webhook


def verify(secret, headers, body):
    Webhook(secret).verify(body, headers)
    return json.loads(body)
"""


def codes(language: Language) -> list[str]:
    """With the library, and by hand."""
    found = [one.code for one in blocks(PAGE) if one.heading == language.heading]
    assert len(found) == 2
    return found


def assert_right(language: Language, directory: Path, code: str, webhooks: list[Given]) -> None:
    said = language.judge(directory, code, "".join(f"{one.line}\n" for one in webhooks))

    assert dict(zip([one.what for one in webhooks], said, strict=True)) == {
        one.what: "genuine" if one.is_genuine else "refused" for one in webhooks
    }


@pytest.mark.parametrize("by", ["standardwebhooks", "svix", "hand"])
def test_python_takes_what_is_genuine_and_nothing_else(webhooks, tmp_path, by):
    library, by_hand = codes(PYTHON)

    assert_right(PYTHON, tmp_path, {"standardwebhooks": library, "svix": SVIX, "hand": by_hand}[by], webhooks)


@pytest.mark.parametrize("by", ["standardwebhooks", "svix", "hand"])
def test_node_takes_what_is_genuine_and_nothing_else(webhooks, tmp_path, by, node_modules):
    (tmp_path / "node_modules").symlink_to(node_modules)
    library, by_hand = codes(NODE)
    svix = library.replace('from "standardwebhooks"', 'from "svix"')

    assert_right(NODE, tmp_path, {"standardwebhooks": library, "svix": svix, "hand": by_hand}[by], webhooks)


@pytest.mark.parametrize("language", [GO, CSHARP, PHP, RUBY], ids=lambda one: one.heading)
def test_other_languages_take_what_is_genuine_by_hand_and_nothing_else(webhooks, tmp_path, language):
    if program := language.missing():
        pytest.skip(f"The {language.heading} in docs/webhooks.md was not run: {program} is not here.")
    _, by_hand = codes(language)

    assert_right(language, tmp_path, by_hand, webhooks)


def whole_receiver(language: str) -> Block:
    [found] = [one for one in blocks(PAGE) if (one.heading, one.language) == ("A whole receiver", language)]
    return found


@pytest.fixture(params=["python", "js"])
def started(request, tmp_path):
    """The page's whole receiver under way, and a subscription of it."""
    language = request.param
    if language == "js":
        (tmp_path / "node_modules").symlink_to(request.getfixturevalue("node_modules"))
    file = tmp_path / {"python": "receiver.py", "js": "receiver.mjs"}[language]
    file.write_text(whole_receiver(language).code)
    port = free_port()
    owner = factories.application()
    subscription = factories.webhook(owner, f"http://127.0.0.1:{port}/")
    process = subprocess.Popen(
        [{"python": sys.executable, "js": "node"}[language], file.name],
        cwd=tmp_path,
        env=os.environ | {"WEBHOOK_SECRET": subscription.secrets.get().secret, "PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: is_listening(port), 120)
    yield owner
    process.terminate()
    process.wait(120)


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_the_whole_receiver_takes_webhooks_and_refuses_what_is_forged(started):
    clock = Clock()
    genuine = publish(started, "user.created", factories.example("user.created")).deliveries.get()
    drain("webhook", clock)

    clock.forward(10 * MINUTE)  # what its clock says is ten minutes ahead of the receiver's
    late = publish(started, "user.created", factories.example("user.created")).deliveries.get()
    drain("webhook", clock)

    genuine.refresh_from_db()
    assert (genuine.status, genuine.attempts.get().status_code) == ("succeeded", 204)
    assert late.attempts.get().status_code == 400


def test_the_headers_on_the_page_are_those_that_come(webhooks):
    with Receiver() as receiver:
        request = Sending(receiver).published(factories.example("user.created"))

    told = {name.strip("`") for name in (row["header"] for row in table(PAGE, "header"))}
    of_http = {"host", "content-length", "accept-encoding"}
    assert told == set(request.headers) - of_http
