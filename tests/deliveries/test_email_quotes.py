"""A name with quotes of its own, where a letter quotes it: the inner ones are single."""

from datetime import UTC, datetime

import pytest

from deliveries.channels.wording import called
from deliveries.letters import Told
from deliveries.letters.events import LETTERS
from deliveries.letters.reader import Reader
from events.event_types import EVENT_TYPES

NOW = datetime(2026, 11, 2, 16, 5, tzinfo=UTC)
QUOTED = [
    ("api_keys.rotated", "name"),
    ("hosted_consent.approved", "description"),
    ("hosted_consent.revoked", "description"),
    ("user.created", "role"),
]


@pytest.mark.parametrize(("event_type", "key"), QUOTED)
@pytest.mark.parametrize(
    ("language", "named", "said"),
    [
        ("en", "Second “key”", "“Second \u2018key\u2019”"),
        ("de", "Zweiter „Schlüssel“", "„Zweiter \u201aSchlüssel\u2018“"),
    ],
)
def test_quotes_within_quotes_are_single(event_type, key, language, named, said):
    reader = Reader(language=language)
    payload = EVENT_TYPES[event_type].example | {key: named}

    with reader.language_on():
        letter = LETTERS[event_type](Told(event_type, NOW, payload, "Green Homes", reader))
        purpose = called(named)

    assert said in letter.what
    assert said in purpose
    assert named in [fact.value for fact in letter.details]
