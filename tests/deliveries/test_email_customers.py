"""Whose consent it is: no two customers read the same, in any email, list or language."""

import re
from typing import Any

import pytest

from deliveries.letters import handling
from tests.lookbook.emails import BERLIN, COLLEAGUE, CONSENT, CUSTOMER, LONDON, Sample, Writer

FIRST, SECOND = "65a0e9b1c6d83f20a7b94e01", "65a0e9b1c6d83f20a7b94e02"
KINDS = ("hosted_consent.approved", "hosted_consent.revoked")
UNEXPLAINED = {key: value for key, value in CONSENT.items() if key != "reason"}


def of(customer_id: str, **more: Any) -> dict[str, Any]:
    return CONSENT | {"customer_id": customer_id} | more


def revoked(payload: dict[str, Any], writer: Writer = Writer(LONDON)) -> Sample:  # noqa: B008 - it has no state
    return writer.told("hosted_consent.revoked", "", payload)


def subject(sample: Sample) -> str:
    return sample.wording.subject


def text(sample: Sample) -> str:
    return sample.wording.text


def first_line(sample: Sample) -> str:
    return text(sample).partition("\n")[0]


def lines(sample: Sample) -> list[str]:
    return re.findall(r"^  - (.*)$", text(sample), re.M)


@pytest.mark.parametrize("reader", [LONDON, BERLIN])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"description": ""}])
@pytest.mark.parametrize(
    ("one", "other"),
    [(FIRST, SECOND), ("cust-A", "cust-B"), ("eu-customer-of-greenhomes-1", "eu-customer-of-greenhomes-2")],
)
def test_the_same_consent_of_two_customers_is_two_subjects(one, other, more, kind, reader):
    first, second = (
        subject(Writer(reader).told(kind, "", of(customer, **more))) for customer in (one, other)
    )

    assert first != second


def test_an_id_is_short_in_the_subject_and_whole_in_the_sentence():
    sample = revoked(CONSENT)

    assert subject(sample) == "Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    assert f"Customer {FIRST} withdrew the consent “Flat 2 electricity” on 2 Nov 2026" in text(sample)
    assert subject(revoked(of("cust-A"))) == "Consent revoked by customer cust-A: Flat 2 electricity"


@pytest.mark.parametrize(
    "named",
    [{"customer": {"name": "Tom Okafor"}}, {"customer_name": "Tom Okafor"}, {"customer": "Tom Okafor"}],
)
def test_a_name_in_the_payload_is_said_in_place_of_the_id(named):
    sample = revoked(CONSENT | named)

    assert subject(sample) == "Consent revoked by Tom Okafor: Flat 2 electricity"
    assert "Tom Okafor withdrew the consent" in text(sample)
    assert "Customer: Tom Okafor" in text(sample)
    assert f"Customer ID: {FIRST}" in text(sample)


def test_an_id_in_the_place_of_a_name_is_called_an_id():
    assert subject(revoked(CONSENT | {"customer": FIRST})) == subject(revoked(CONSENT))


def test_without_any_customer_the_consent_says_what_it_can():
    assert subject(revoked(of(" "))) == "Consent revoked: Flat 2 electricity"
    assert subject(revoked(of("", description=""))) == "Consent revoked: A customer"


def test_a_reason_is_said_where_there_is_one_and_asked_for_where_there_is_none():
    given, unexplained = revoked(CONSENT), revoked(UNEXPLAINED)

    since = "No new data since 2 Nov 2026, 16:05 GMT from the meters under this consent."
    assert given.first_line == f"{since} Reason given: The customer asked support to withdraw it."
    assert first_line(given) == since
    assert "why" not in text(given)
    assert first_line(unexplained) == f"{since} Somebody should ask the customer why."
    assert "If you don't know why, ask the customer" in text(unexplained)


def test_a_reason_is_said_once():
    sample = revoked(CONSENT)

    assert text(sample).count(CONSENT["reason"]) == 1
    assert sample.wording.html.partition("<table")[2].count(CONSENT["reason"]) == 1


def test_a_reason_is_said_also_to_whoever_is_told_that_somebody_is_on_it():
    sample = Writer(LONDON).told("hosted_consent.revoked.taken", "", CONSENT, on_it=COLLEAGUE)

    assert text(sample).startswith(f"{COLLEAGUE.by} has been on it since ")
    assert text(sample).count(CONSENT["reason"]) == 1


def test_each_line_of_a_digest_says_whose_consent_and_why():
    told = [("hosted_consent.revoked", of(customer)) for customer in ("cust-A", "cust-B")]

    first, second = sorted(lines(Writer(LONDON).digest("digest", "", told))[:2])

    assert first.startswith("Consent revoked by customer cust-A: Flat 2 electricity (")
    assert second.startswith("Consent revoked by customer cust-B: Flat 2 electricity (")
    assert "Reason given: The customer asked support to withdraw it." in first
    assert "ask the customer why" not in first


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("several.unhandled", handling.unhandled_together),
        ("several.taken", handling.taken_together),
        ("several.handed_over", handling.handed_over_together),
    ],
)
def test_each_row_about_several_cases_says_whose_and_of_when(name, write):
    sample = Writer(LONDON).several_cases(name, write, 3)

    rows = lines(sample)
    assert len(rows) == 3
    for nth, row in enumerate(rows):
        assert row.startswith(
            f"Consent revoked by Tom Okafor {nth}: Flat 2 electricity (2 Nov 2026, 16:05 GMT)"
        )


def test_a_name_stays_text_in_every_place_that_says_it():
    hostile = "evil.example/pay\r\nBcc: x@example.org"

    sample = revoked(CONSENT | {"customer": CUSTOMER | {"name": hostile}})

    assert "\n" not in subject(sample)
    assert "evil.example" not in text(sample)
