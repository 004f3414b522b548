"""Names that others chose: what would become a link, or is not seen, does neither harm nor make them unreadable."""

import json
import re
from urllib.parse import unquote

import pytest
from django.utils.html import urlize

from deliveries.letters import handling, outages
from deliveries.letters.reading import ZERO_WIDTH_SPACE, name
from events.event_types import EVENT_TYPES
from tests.lookbook.emails import CONSENT, LONDON, OUTAGE, Sample, Writer

TRICK = "Click https://evil.example.com/now or www.evil.com, http://evil.com"
READ = "Click evil.example.com/now or evil.com, evil.com"
MAILTO = re.compile(r'href="mailto:[^"]*"')
UNSEEN = "Tom\u200b Oka\ufefffor\u2060 \u00ad\u200e\u3164GmbH"


def everywhere(text: str) -> list[Sample]:
    customer = {"_id": text, "name": text, "email": "tom@mail.example"}
    consent = CONSENT | {"customer": customer, "description": text, "reason": text, "customer_id": text}
    writer = Writer(LONDON, text)
    data = [{"meter_id": text, "start_interval": text, "end_interval": text}]
    return [
        writer.told("hosted_consent.revoked", "", consent),
        writer.told("customer.created", "", customer),
        writer.told("tariff.changed", "", {text: text, "list": [text], "deep": {"name": text}}),
        writer.told("meter_data.received", "", data),
        writer.digest("digest", "", [("hosted_consent.revoked", consent), ("customer.created", customer)]),
        writer.asked("confirm", ["*"]),
        writer.case_note("done", handling.done, text, consent),
        writer.several_cases("unhandled", handling.unhandled_together, 2),
    ]


def said(sample: Sample) -> list[str]:
    """Its text, its HTML without links of its own: what a mail program looks for links in."""
    text = "\n".join(line for line in sample.wording.text.split("\n") if "http://localhost:8000/" not in line)
    return [text, MAILTO.sub("", sample.wording.html)]


def test_no_name_becomes_a_link_and_each_can_be_read():
    for sample in everywhere(TRICK):
        for words in said(sample):
            assert "evil.com" not in words, sample.name
            assert "evil.example" not in words, sample.name
            assert "https://evil" not in words.replace(ZERO_WIDTH_SPACE, ""), sample.name
        assert "evil" in sample.wording.text.replace(ZERO_WIDTH_SPACE, ""), sample.name
        assert "://" not in sample.wording.subject, sample.name
        assert "www." not in sample.wording.subject, sample.name


@pytest.mark.parametrize("chosen", ["Booking.com", "evil.example", "=?utf-8?q?x?="])
def test_a_subject_is_found_by_what_it_shows_as_mail_programs_make_no_links_in_it(chosen):
    customer = {"_id": "1", "name": chosen, "email": "tom@mail.example"}
    sample = Writer(LONDON).told("customer.created", "", customer)

    assert ZERO_WIDTH_SPACE not in sample.wording.subject
    assert sample.wording.subject.replace("= ?", "=?").endswith(chosen)
    for link in re.findall(r"mailto:[^\"\s]+subject=([^&\"\s]+)", sample.wording.html):
        assert ZERO_WIDTH_SPACE not in unquote(link)


def of_webhooks() -> list[Sample]:
    """Each email that names a receiver."""
    writer = Writer(LONDON)
    outages = [*writer.outage_letters(), *writer.summaries(), *writer.fallbacks()]
    return [*outages, writer.asked("confirm", ["*"], OUTAGE["url"])]


@pytest.mark.parametrize("sample", of_webhooks(), ids=lambda sample: sample.name)
def test_no_receiver_becomes_a_link_and_each_can_be_read(sample):
    for words in said(sample):
        assert not re.search(r"(?<!@)\b(greenhomes|evil|subdomain)\.example", words)
    assert ZERO_WIDTH_SPACE not in sample.wording.subject


def test_where_a_receiver_points_to_becomes_no_link():
    error = "The receiver answered 302 Found and points to https://evil.example/in; redirects are not followed, so"
    sample = Writer(LONDON).failing("failing", outages.failing, OUTAGE | {"last_error": error})

    for words in said(sample):
        assert "evil.example" not in words
        assert "evil.example/in" in words.replace(ZERO_WIDTH_SPACE, "")


def test_an_application_that_is_called_like_a_host_is_found_by_its_name_in_the_list_of_senders():
    sample = Writer(LONDON, "Booking.com").told("customer.created", "", {"_id": "1", "name": "Tom"})

    assert sample.email.extra_headers["List-Id"].startswith('"Booking.com" <')
    assert ZERO_WIDTH_SPACE not in str(sample.email.message()["From"])


def test_what_looks_like_code_and_is_no_host_is_copied_as_it_is():
    for event_type in EVENT_TYPES.values():
        assert (
            ZERO_WIDTH_SPACE not in Writer(LONDON).told(event_type.name, "", event_type.example).wording.text
        )


def test_a_mail_program_makes_a_link_of_the_name_as_it_was_and_none_of_ours():
    assert "<a" in urlize(TRICK)
    assert "<a" not in urlize(name(TRICK))
    assert name(TRICK).replace(ZERO_WIDTH_SPACE, "") == READ


@pytest.mark.parametrize(
    "harmless",
    [
        "Zoë O'Neill & Söhne",
        "ann.reid@greenhomes.example",
        "Flat 2.5, 3. floor",
        "99.5 kWh on 2.11.2026",
        "Dr. Smith, Inc.",
        "👩‍👩‍👧‍👦 ❤️",
        "می‌خواهم",
        "gb.residential.specific",
        "hosted_consent.revoked",
        "Smith.Okafor",
        "v2.beta_build",
        "notes.latest-draft",
    ],
)
def test_other_names_stay_as_they_are(harmless):
    assert name(harmless) == harmless


@pytest.mark.parametrize(
    "trick",
    [
        "hthttps://tps://evil.com",
        "https:///evil.com",
        "HTTP://evil.com",
        "ftp://evil.com",
        "www.evil.com",
        "https://www.www.evil.com",
        "wwhttp://w.evil.com",
        "evil。com",
        "evil.co\u200bm",
        "evil\u200b.com",
        "evil.com\u200d/x",
        "Evil.COM",
        "(evil.com)",
        "evil.com-now",
        "evil.com.specific",
    ],
)
def test_tricks_come_to_nothing(trick):
    assert "://" not in name(trick)
    assert "<a" not in urlize(name(trick).replace("。", "."))
    assert "evil.com" not in name(trick).lower()


@pytest.mark.parametrize(
    "host",
    ["evil.shop", "evil.co.uk", "evil.рф", "evil.xn--p1ai", "evil.example", "evil.XYZ/x", "ev-il.click:80"],
)
def test_each_domain_that_there_is_would_be_a_link_and_is_none(host):
    assert ZERO_WIDTH_SPACE in name(host)
    assert name(host).replace(ZERO_WIDTH_SPACE, "") == host


def test_a_name_is_defused_once_however_often_it_is_cleaned():
    assert name(name(TRICK)) == name(TRICK)


def test_what_is_not_seen_is_not_there():
    for sample in everywhere(UNSEEN):
        for words in said(sample):
            assert not {*"\u200b\ufeff\u2060\u00ad\u200e\u3164"} & {*words}, sample.name
    assert "Tom Okafor GmbH" in everywhere(UNSEEN)[0].wording.subject


def test_the_attached_notification_has_the_names_as_they_were_published():
    [attachment] = everywhere(TRICK)[0].email.attachments

    assert json.loads(attachment[1])["payload"]["customer"]["name"] == TRICK
