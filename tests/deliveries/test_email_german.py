"""Every email that the service can send, in German: no word of it is left in English, and no number either."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import html5lib  # type: ignore[import-untyped]
import pytest
from structlog.testing import capture_logs

from deliveries.channels import failures
from deliveries.letters.answers import FORMS, answer
from deliveries.letters.numbers import fraction, milliseconds, number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import ZERO_WIDTH_SPACE
from tests.lookbook.emails import ADDRESS, COLLEAGUE, NOW, Sample, samples

BERLIN = Reader("Europe/Berlin", "de")
# English, and nothing in German.
ENGLISH = frozenset(
    """
    about above added after again agreed all and answer answered are asked at attempt attempts be because been before
    below between by came can changed choose click complete confirm consent contact could customer daily data day days
    delivered delivery details developer disabled done each email ended ends event every failed failing find for forward
    from get gets give had happened happens has have held help hour hours how if is it its key know late likely listed
    mend meter meters minute minutes month months more need needs new no nobody not nothing of on once one open or other
    others page part press programs quote receiver receives record recovered replaced resume revoked see send sent since
    somebody still stopped succeeded tell than that the their them then there they this time times to told unless until
    update used waiting waits week were what when which who why with without worked works write years yes you your
    """.split()  # noqa: SIM905 - a list would take a hundred lines
)
# Addresses, paths, files, types of events, ids, bodies of requests.
APART = re.compile(r'\{"[^}]*\}|(?:GET|POST) /|[^\s]*[._/@=\d][^\s]*')
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
QUOTED = re.compile(r"„[^“]*“")
WORD = re.compile(r"[A-Za-zÄÖÜäöüß]+")
ENGLISH_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w.,])|(?<![\w.,])\d+\.\d{1,2}(?= (?:s|ms|%))")
UNGROUPED = re.compile(r"(?<![\w.,:…-])(?!(?:19|20)\d\d\b)\d{4,}(?![\w.,:-])")
ENGLISH_DATE = re.compile(
    r"\b(?:Oct|Dec|May|Mar|CES?T|EES?T)\b|\b\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
)
SERVICE = ("Openvolt Events", "Green Homes", ADDRESS, COLLEAGUE.by)


@cache
def german() -> dict[str, Sample]:
    return {sample.name: sample for sample in samples() if sample.name.endswith(".de")}


def names() -> list[str]:
    return [sample.name for sample in samples() if sample.name.endswith(".de")]


@pytest.fixture(params=names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def leaves(given: Any) -> Iterator[str]:
    """The texts and the keys of what was given, the longest first, as a letter may cut or change them."""
    if isinstance(given, dict):
        for key, value in given.items():
            yield str(key).replace("_", " ").strip()
            yield from leaves(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from leaves(value)
    elif isinstance(given, str):
        yield " ".join(given.split())
        yield from WORD.findall(given) if len(given) > 60 else ()


@cache
def words_of(name: str) -> str:
    """All that the reader of this sample sees or hears, without what others said."""
    sample = german()[name]
    html = html5lib.parse(COMMENT.sub("", sample.wording.html), namespaceHTMLElements=False)
    labels = [element.get("aria-label", "") for element in html.iter()]
    shown = ["".join(html.find("body").itertext()), html.find("head/title").text, *labels]
    said = " ".join([sample.wording.subject, sample.wording.text, *shown])
    return without(QUOTED.sub(" ", " ".join(said.split())), [*leaves(sample.given), *SERVICE])


def without(said: str, given: Iterable[str]) -> str:
    for each in sorted({one for one in given if len(one) > 1}, key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", " ", said, flags=re.IGNORECASE)
    return said


def test_no_word_is_left_in_english(name):
    found = WORD.findall(APART.sub(" ", words_of(name)).lower())

    assert len(found) > 40
    assert ENGLISH & {*found} == set()


def test_numbers_and_dates_are_written_as_germans_do(name):
    said = words_of(name)

    assert ENGLISH_NUMBER.findall(said) == []
    assert UNGROUPED.findall(said) == []
    assert ENGLISH_DATE.findall(said) == []
    assert re.findall(r"\d\d:\d\d [A-Z]{3,}\b", said) == []


def test_an_english_word_number_or_date_would_be_found():
    assert ENGLISH & {*WORD.findall("Letzte Antwort: the receiver answered")} == {
        "the",
        "receiver",
        "answered",
    }
    assert ENGLISH_NUMBER.findall("mehr als 1,204 in 2.2 s, am 2.11. und 1.204 in 2,2 s") == ["1,204", "2.2"]
    assert UNGROUPED.findall("1204 im Jahr 2026, 1.204") == ["1204"]
    assert ENGLISH_DATE.findall("2 Nov 2026 CET, 2. Nov. 2026 MEZ") == ["2 Nov", "CET"]


def test_no_letter_of_the_look_book_broke():
    """It would give way to the general one."""
    samples.cache_clear()
    with capture_logs() as logs:
        assert len(samples()) == 2 * len(names())

    assert [entry for entry in logs if entry["log_level"] == "error"] == []


def test_numbers_follow_the_language():
    with Reader(language="en").language_on():
        assert [number(1204), number(99.46, 1), fraction(99.5), milliseconds(2210.4)] == [
            "1,204",
            "99.5",
            "99.5",
            "2.2 s",
        ]
    with BERLIN.language_on():
        assert [number(1204), number(99.46, 1), fraction(99.5), milliseconds(2210.4)] == [
            "1.204",
            "99,5",
            "99,5",
            "2,2 s",
        ]
        assert BERLIN.shown(1234567) == "1234567"  # it may be the number of a meter
        assert BERLIN.shown(1234.5) == "1234,5"


def test_a_span_says_once_what_is_the_same_of_both_ends():
    later, next_day = NOW.replace(hour=18), NOW.replace(day=3)

    with Reader().language_on():
        assert Reader().between(NOW, NOW) == "on 2 Nov 2026, 16:05 UTC"
        assert Reader().between(NOW, later) == "on 2 Nov 2026, between 16:05 and 18:05 UTC"
        assert Reader().between(NOW, next_day) == "between 2 Nov 2026, 16:05 UTC and 3 Nov 2026, 16:05 UTC"
    with BERLIN.language_on():
        assert BERLIN.between(NOW, later) == "am 2. Nov. 2026 zwischen 17:05 und 19:05 Uhr MEZ"


@pytest.mark.parametrize(
    "error",
    [
        *(sentence.format(patience="2.5 s") for sentence in failures.TOO_LATE.values()),
        *(f"The receiver's certificate {fault}." for fault in failures.CERTIFICATE_FAULTS.values()),
        *(sentence for _, sentence in failures.KINDS),
        "The receiver answered 503 Service Unavailable.",
        "The receiver answered 302 Found; redirects are not followed, so the subscription's URL must be the final one.",
        "The receiver answered 302 Found and points to https://example.org/?token=s3cret; redirects are not followed, "
        "so the subscription's URL must be the final one.",
        "The receiver answered 410 Gone: it wants no more notifications.",
        "The receiver's certificate can't be verified: invalid CA certificate.",
        "The receiver does not speak TLS at that port; correct the port, or set up https there.",
        "The receiver closed the connection during TLS.",
        "TLS with the receiver failed: no shared cipher.",
        "The receiver's answer is not valid HTTP: got more than 100 headers.",
        "The connection to the receiver failed: No route to host.",
        "The request could not be made from the subscription's URL and headers; correct and save them.",
    ],
)
def test_what_came_back_is_said_in_the_readers_language(error):
    with Reader(language="en").language_on():
        told = answer(error).replace(ZERO_WIDTH_SPACE, "")
        assert told == error.replace("https://", "").replace("?token=s3cret", "")
    with BERLIN.language_on():
        german = answer(error)

    assert any(form.fullmatch(answer(error)) for _, form in FORMS)
    assert ENGLISH & {*WORD.findall(QUOTED.sub("", german).lower())} == set()
    assert "s3cret" not in german


def test_what_nobody_has_words_for_is_shown_as_it_was_said():
    with BERLIN.language_on():
        told = answer("A whale swallowed it: https://example.org/?x=1")
    assert told == f"A whale swallowed it: example.{ZERO_WIDTH_SPACE}org/"
