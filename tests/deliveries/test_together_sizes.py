"""However long the names are, what goes out together is no longer than what Gmail shows."""

import pytest

from deliveries.channels.wording import LONGEST_HTML
from deliveries.mailing import MOST_TOGETHER
from tests.lookbook.emails import BERLIN, OUTAGE, SEVERAL, TOGETHER, Writer, with_case

GREEDY = "&<>'\"" * 200  # each becomes five or six characters of HTML
GREEDY_OUTAGE = {"description": GREEDY, "url": f"https://example.org/?{'&' * 500}", "last_error": GREEDY}


@pytest.fixture(autouse=True)
def greedy_cases(monkeypatch):
    write = Writer.case

    def case(self, payload):
        made = write(self, payload | {"customer": {"_id": "1", "name": GREEDY}})
        made.outcome = GREEDY
        return made

    monkeypatch.setattr(Writer, "case", case)


@pytest.mark.parametrize("kind", SEVERAL)
def test_notes_about_several_cases_are_not_clipped(kind):
    sample = Writer(BERLIN, GREEDY).several_cases(f"cases.{kind}", SEVERAL[kind], MOST_TOGETHER)

    assert sample.wording.html.count("/cases/") == MOST_TOGETHER
    assert len(sample.wording.html.encode()) < LONGEST_HTML


@pytest.mark.parametrize("kind", TOGETHER)
def test_the_news_of_several_subscriptions_is_not_clipped(kind):
    told = [with_case(OUTAGE | GREEDY_OUTAGE)] * MOST_TOGETHER
    sample = Writer(BERLIN, GREEDY).failing_together(f"outages.{kind}", TOGETHER[kind], told)

    assert len(sample.wording.html.encode()) < LONGEST_HTML
