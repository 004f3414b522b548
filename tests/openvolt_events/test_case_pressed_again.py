"""A button that is pressed twice: whoever has it is not told that somebody else was faster."""

import re
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEntry
from deliveries.models import Case, Delivery, Notice
from deliveries.publishing import publish
from tests.support import factories
from tests.support.cases import page_of, press

pytestmark = pytest.mark.django_db

ANN, BOB = "ann@example.org", "bob@example.org"
REVOKED = "hosted_consent.revoked"
LATE = "somebody else was faster"


@pytest.fixture
def case() -> Case:
    """Of which both were told."""
    owner = factories.application()
    factories.confirmed_emails(owner, [ANN, BOB])
    publish(owner, REVOKED, factories.example(REVOKED))
    Delivery.objects.update(status="succeeded", next_attempt_at=None, finished_at=timezone.now())
    return Case.objects.get()


def written(case: Case) -> Any:
    """All that pressing a button could write."""
    return (
        Case.objects.filter(pk=case.pk).values().get(),
        Notice.objects.count(),
        AuditEntry.objects.count(),
    )


def words(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def test_whoever_presses_im_on_it_twice_has_it_as_before(case: Case) -> None:
    press(page_of(case, ANN), "take")
    before = written(case)

    again = press(page_of(case, ANN), "take")

    assert again.status_code == 200
    assert LATE not in words(again)
    assert "You have been on it since" in words(again)
    assert written(case) == before
    assert press(page_of(case, BOB), "take").status_code == 409


@pytest.mark.parametrize("word", ["She moved out.", ""])
def test_whoever_presses_done_twice_has_done_it_once(case: Case, word: str) -> None:
    press(page_of(case, ANN), "take")
    press(page_of(case, ANN), "done", outcome=word)
    before = written(case)

    again = press(page_of(case, ANN), "done", outcome=word)

    assert again.status_code == 200
    assert LATE not in words(again)
    assert f"Done by {ANN}" in words(again)
    assert written(case) == before
    assert press(page_of(case, BOB), "done", outcome=word).status_code == 409


def test_another_word_for_what_is_done_is_not_lost_without_a_warning(case: Case) -> None:
    press(page_of(case, ANN), "take")
    press(page_of(case, ANN), "done", outcome="She moved out.")

    assert press(page_of(case, ANN), "done", outcome="She did not.").status_code == 409
    assert Case.objects.get().outcome == "She moved out."


def test_i_am_on_it_is_not_taken_for_a_wish_to_reopen_what_is_done(case: Case) -> None:
    press(page_of(case, ANN), "take")
    press(page_of(case, ANN), "done")

    assert press(page_of(case, ANN), "take").status_code == 409
    assert Case.objects.get().state == "done"
