"""Which addresses may be told by email: mailboxes of the internet, whatever their language."""

import pytest

from deliveries.models import Notice
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.api import Api, problem_of

pytestmark = pytest.mark.django_db

REFUSED = [
    ("ann@localhost", "domain"),
    ("ann@LocalHost", "valid email"),
    ("ann@mail.localhost", "domain"),
    ("ann@[127.0.0.1]", "domain"),
    ("ann@[IPv6:::1]", "valid email"),
    ("ann@127.0.0.\uff11\uff11", "domain"),
    ("ann@example.de\u202e", "invisible"),
    ("ann@exam\u00adple.de", "invisible"),
    ("ann@exam\u200dple.de", "invisible"),
    ("ann@exam\u3164ple.org", "invisible"),  # fillers, which are letters to Unicode
    ("ann@exam\u2800ple.org", "invisible"),
    ("ann@exam\uffa0ple.org", "invisible"),
    ("ann@exam\u17b4ple.org", "invisible"),
    (f"{'a' * 65}@example.org", "64"),
    ("|cat@example.org", "begins with"),
    ("-oQ/tmp/x@example.org", "begins with"),
    ('"|cat"@example.org', "begins with"),
]


@pytest.mark.parametrize(("email", "says"), REFUSED)
def test_no_email_goes_to_an_address_inside_of_a_network_or_of_an_odd_form(
    api: Api, email: str, says: str
) -> None:
    answer = api.post(
        "/v1/subscriptions",
        {"channel": "email", "recipients": ["ann@example.org", email], "event_types": ["*"]},
    )

    [error] = problem_of(answer, 422)["errors"]
    assert error["pointer"] == "/recipients/1"
    assert says in error["detail"]
    assert not Notice.objects.exists()


@pytest.mark.parametrize(
    "email",
    ["ann@bücher.example", "ann@日本語.jp", "ann@xn--bcher-kva.example", "o'neil+events@mail.example.org"],
)
def test_names_in_any_language_are_welcome(api: Api, email: str) -> None:
    answer = api.post("/v1/subscriptions", {"channel": "email", "recipients": [email], "event_types": ["*"]})

    assert answer.status_code == 201
    assert Recipient.objects.get().email == email


def test_the_one_a_webhook_falls_back_on_and_contacts_are_looked_at_likewise(api: Api) -> None:
    webhook = {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"]}
    platform = Api(factories.platform_key())

    fallback = api.post("/v1/subscriptions", {**webhook, "fallback": {"recipient": "ann@localhost"}})
    contacts = platform.post("/v1/applications", {"name": "Greener", "contacts": ["ann@[127.0.0.1]"]})

    assert [error["pointer"] for error in problem_of(fallback, 422)["errors"]] == ["/fallback/recipient"]
    assert [error["pointer"] for error in problem_of(contacts, 422)["errors"]] == ["/contacts/0"]
