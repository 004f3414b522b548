"""An API key that another one has replaced: who did it is said in the reader's language."""

import pytest
from django.utils import timezone

from accounts.keys import PREFIX_LENGTH
from deliveries.dispatch import drain
from deliveries.lifecycle import choose
from tests.support import factories
from tests.support.api import Api
from tests.support.cases import text_of
from tests.support.smtp import mail_server

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("language", "by"),
    [
        ("en", "API key production ({}…) replaced the API key “CI” of Green Homes on "),
        ("de", "API-Schlüssel production ({}…) hat am "),
    ],
)
def test_that_a_key_has_replaced_another_is_said_in_the_readers_language(owner, clock, language, by):
    ann = factories.confirmed_emails(owner).recipients.get()
    choose(ann, {"language": language}, clock())
    api = Api(factories.application_key(owner))
    old = api.post("/v1/api-keys", {"name": "CI"}).json()
    assert api.post(f"/v1/api-keys/{old['id']}/rotate", {}).status_code == 200
    clock.forward_to(timezone.now())

    with mail_server() as mailbox:
        drain("email", clock)

    text = " ".join(text_of(mailbox.message()).split())
    assert by.format(api.key[:PREFIX_LENGTH]) in text
    assert ("API key " in text) == (language == "en")
