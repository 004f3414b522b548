"""Gmail cuts an email off after 102 KB of HTML, with the link to unsubscribe at its end: none of ours is so long."""

from typing import Any

import pytest

from deliveries.channels.wording import LONGEST_HTML
from deliveries.letters.charts import Bar, cells
from deliveries.letters.handling import HANDLED
from tests.lookbook.emails import BERLIN, CONSENT, LONDON, Sample, Writer, hostile, samples, worst_payloads

GMAIL = 100 * 1024
HIDDEN = "Not all of it is shown here, as the email would be too long."
GREEDY = "&<>'\"" * 200  # each becomes five or six characters of HTML


def size(sample: Sample) -> int:
    return len(sample.wording.html.encode())


def test_no_email_of_the_look_book_is_clipped():
    sizes = {sample.name: size(sample) for sample in samples()}

    assert {name: bytes for name, bytes in sizes.items() if bytes > GMAIL} == {}
    assert LONGEST_HTML < GMAIL


@pytest.mark.parametrize(
    ("reader", "name"),
    [(LONDON, "Green Homes"), (BERLIN, GREEDY), (LONDON, "議" * 999)],
    ids=["plain", "greedy", "wide"],
)
def test_the_worst_digest_is_not_clipped_and_keeps_its_buttons_and_links(reader, name):
    sample = Writer(reader, name).digest("digest", "", worst_payloads(name))

    html = sample.wording.html
    assert size(sample) < GMAIL
    assert html.count("/cases/") >= 10
    assert "/recipients/unsubscribe/" in html


def test_a_digest_of_many_that_need_somebody_leaves_out_the_rest_first_and_says_that_the_attachment_has_all():
    consent = CONSENT | {"customer": {"_id": "1", "name": GREEDY}, "reason": GREEDY, "description": GREEDY}
    events: list[tuple[str, Any]] = [("customer.created", hostile(GREEDY))] * 10
    few = Writer(LONDON).digest("digest", "", [("hosted_consent.revoked", consent)] * 12)
    many = Writer(LONDON).digest(
        "digest", "", [(each, consent) for each in HANDLED for _ in range(60)] + events
    )

    assert few.wording.html.count("/cases/") == 13  # and the button
    assert size(many) < GMAIL
    assert "listed in notifications.json" in many.wording.text
    assert f"{HIDDEN} The attachment has all." in many.wording.text


def test_equal_cells_of_a_bar_are_one():
    sample = next(one for one in samples() if one.name == "meter_data.received.backfill")

    assert sample.wording.html.count('class="full"') == 1
    assert 'colspan="13"' in sample.wording.html


def test_a_bars_runs_are_as_long_as_its_cells():
    bar = Bar(cells({"full": 10, "fail": 5}, 30), "Mon", "15")

    assert [(run.cell, run.length) for run in bar.runs] == [("full", 10), ("fail", 5), ("rest", 15)]
    assert sum(run.percent for run in bar.runs) in range(98, 103)
