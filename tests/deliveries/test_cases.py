"""Who is on it: one event that a person should handle, several people who were told."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.audit import Actor, acting
from accounts.ids import uuid7
from accounts.models import Application, AuditEntry
from deliveries import cases, reminding
from deliveries.cases import (
    Person,
    close,
    finish,
    forget_cases,
    give_back,
    hand_over,
    person_with,
    reopen,
    take,
)
from deliveries.dispatch import drain
from deliveries.erasing import erase
from deliveries.failing import DISABLE_AFTER, sweep, tell_gone
from deliveries.lifecycle import (
    choose,
    delete_subscription,
    disable,
    pause,
    replay,
    resume,
    send_test,
    set_recipients,
    unsubscribe_recipient,
)
from deliveries.mailing import send_notices
from deliveries.models import Case, Delivery, Notice
from deliveries.notices import GATHER_FOR
from deliveries.partitions import retention_over
from deliveries.publishing import publish
from deliveries.suppressing import suppress
from deliveries.working_hours import after_working
from subscriptions.models import Recipient, Subscription
from tests.support import factories
from tests.support.cases import html_of, page_of, person, press, text_of
from tests.support.locks import somebody_waits_for_a_lock
from tests.support.running import wait_for
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
NEVER = datetime.max.replace(tzinfo=UTC)
REVOKED = "hosted_consent.revoked"
WHAT = "Consent revoked by customer 65a0…b94e01: Flat 2 electricity"


def suppressed(one: Recipient, now: datetime) -> None:
    suppress({one.email: "It does not exist."}, "mail server", now)


def delete_all_of_it(one: Recipient, now: datetime) -> None:
    delete_subscription(one.subscription, now)


@pytest.fixture
def team(owner: Application) -> Subscription:
    return factories.confirmed_emails(owner, [ANN, BOB, EVE])


@pytest.fixture
def case(team: Subscription, clock: Clock) -> Case:
    """A revoked consent that all three were told of."""
    publish(team.application, REVOKED, factories.example(REVOKED))
    clock.forward_to(timezone.now())
    with mail_server():
        drain("email", clock)
    return Case.objects.get()


def recipient(email: str) -> Recipient:
    return Recipient.objects.get(email=email)


def sent(clock: Clock) -> Mailbox:
    with mail_server() as mailbox:
        send_notices(clock)
    return mailbox


def subjects(mailbox: Mailbox) -> dict[str, str]:
    """What each address got."""
    return {str(message["to"]): str(message["subject"]) for message in mailbox.messages()}


def kinds() -> list[str]:
    return [*Notice.objects.filter(kind__startswith="case_").order_by("id").values_list("kind", flat=True)]


def remind_at() -> datetime:
    moment = Case.objects.get().remind_at
    assert moment
    return moment


def test_a_case_is_opened_with_the_emails_that_tell_of_it(team):
    event = publish(team.application, REVOKED, factories.example(REVOKED))

    case = Case.objects.get()
    assert (case.id, case.kind, case.state) == (event.id, REVOKED, "open")


def test_without_a_person_to_tell_there_is_no_case(owner):
    factories.webhook(owner)
    publish(owner, REVOKED, factories.example(REVOKED))

    assert not Case.objects.exists()


def test_what_needs_nobody_and_a_test_open_no_case_and_ask_nothing_more(team):
    with CaptureQueriesContext(connection) as asked:
        publish(team.application, "user.created", factories.example("user.created"))
    send_test(team, REVOKED, timezone.now())

    assert not [query for query in asked if "deliveries_case" in query["sql"]]
    assert not Case.objects.exists()


def test_a_replay_tells_of_the_case_that_there_is(case, team, clock):
    take(case, person(case, ANN), clock())
    replay(case.event, [team.id], clock())

    assert Case.objects.get().taken_by == ANN


@pytest.mark.django_db(transaction=True)
def test_of_two_who_press_at_the_same_moment_one_wins_and_the_other_sees_who(case, clock):
    together, won = threading.Barrier(2), {}

    def press(who: Person) -> None:
        mine = Case.objects.select_related("application").get()
        together.wait(60)
        won[who.email] = (take(mine, who, clock()), mine.taken_by)
        connection.close()

    threads = [threading.Thread(target=press, args=[person(case, email)]) for email in (ANN, BOB)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    [winner] = [email for email, (is_first, _) in won.items() if is_first]
    assert {seen for _, seen in won.values()} == {winner}
    assert Case.objects.get().taken_by == winner
    assert {notice.facts["by"] for notice in Notice.objects.filter(kind="case_taken")} == {winner}


@pytest.mark.django_db(transaction=True)
def test_the_second_waits_for_the_first_who_is_about_to_commit_and_loses(case, clock):
    result = []

    def second() -> None:
        result.append(take(Case.objects.select_related("application").get(), person(case, BOB), clock()))
        connection.close()

    with transaction.atomic():
        assert take(case, person(case, ANN), clock())
        thread = threading.Thread(target=second)
        thread.start()
        wait_for(somebody_waits_for_a_lock, 60)
    thread.join(60)

    assert result == [False]
    assert Case.objects.get().taken_by == ANN


def test_the_others_get_a_note_if_they_wish_and_whoever_took_it_does_not(case, clock):
    choose(recipient(EVE), {"notes": False}, clock())

    take(case, person(case, ANN), clock())

    mailbox = sent(clock)
    assert subjects(mailbox) == {
        BOB: f"{ANN} is on it: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    }
    text = text_of(mailbox.message())
    assert f"{ANN} has been on it since " in text
    assert "withdrew the consent" in text
    assert "/recipients/preferences/" in text


def test_a_pause_holds_no_notes_and_no_reminders(case, team, clock):
    pause(team, clock())

    take(case, person(case, ANN), clock())

    assert subjects(sent(clock)) == dict.fromkeys((BOB, EVE), f"{ANN} is on it: {WHAT}")
    clock.forward_to(remind_at())
    reminding.remind(clock())
    clock.forward(GATHER_FOR)
    assert subjects(sent(clock)) == {ANN: f"You are still on it: {WHAT}"}


def test_a_note_that_is_no_longer_so_is_not_sent(case, clock):
    take(case, person(case, ANN), clock())
    give_back(case, person(case, ANN), clock())

    assert subjects(sent(clock)) == {}
    assert {*Notice.objects.filter(kind="case_taken").values_list("error", flat=True)} == {
        "It is no longer as the note says."
    }


def test_who_takes_it_again_and_again_pesters_nobody(case, clock):
    for _ in range(5):
        take(case, person(case, ANN), clock())
        clock.forward(SECOND)
        give_back(case, person(case, ANN), clock())
    take(case, person(case, ANN), clock())

    mailbox = sent(clock)
    assert subjects(mailbox) == dict.fromkeys((BOB, EVE), f"{ANN} is on it: {WHAT}")
    assert len(mailbox.messages()) == 2


def test_whoever_heard_that_somebody_is_on_it_hears_that_it_was_given_back(case, clock):
    choose(recipient(EVE), {"notes": False}, clock())
    take(case, person(case, ANN), clock())
    sent(clock)

    give_back(case, person(case, ANN), clock())

    mailbox = sent(clock)
    assert subjects(mailbox) == {BOB: f"Nobody is on it any more: {WHAT}"}
    text = text_of(mailbox.message())
    assert f"{ANN} is not on it any more, and nobody else is." in text
    assert "I'm on it: open this page" in text
    assert "/recipients/preferences/" in text


def test_who_saw_in_a_letter_that_somebody_is_on_it_hears_that_it_was_given_back(case, clock):
    take(case, person(case, ANN), clock())
    Notice.objects.all().delete()  # told of the event later, by a letter that said so

    give_back(case, person(case, ANN), clock())

    assert subjects(sent(clock)).keys() == {BOB, EVE}


def test_what_staff_give_back_is_told_whoever_had_it_too(case, clock):
    take(case, person(case, ANN), clock())
    sent(clock)

    reopen(case, clock())

    assert subjects(sent(clock)) == dict.fromkeys((ANN, BOB, EVE), f"Nobody is on it any more: {WHAT}")


def test_what_staff_mark_as_done_is_said_to_be_done_by_staff_whoever_had_it(case, clock):
    choose(recipient(EVE), {"notes": False}, clock())
    take(case, person(case, ANN), clock())
    sent(clock)

    assert close(case, clock())

    mailbox = sent(clock)
    assert subjects(mailbox) == dict.fromkeys((ANN, BOB), f"Done: {WHAT}")
    for message in mailbox.messages():
        assert "Marked as done by Openvolt staff on " in text_of(message)
        assert "Done by" not in text_of(message)
    page = press(page_of(case, ANN), "done", outcome="Mine!")
    assert page.status_code == 409
    assert "Marked as done by Openvolt staff on " in page.content.decode()
    Recipient.objects.update(language="de")
    in_german = Client().get(page_of(case, ANN)).content.decode()
    assert "vom Openvolt-Team als erledigt markiert" in in_german


def test_who_is_told_after_staff_have_closed_it_is_not_asked_to_be_on_it(case, team, clock):
    assert close(case, clock())
    replay(case.event, [team.id], clock())

    with mail_server() as mailbox:
        drain("email", clock)

    letters = [each for each in mailbox.messages() if each["subject"] == f"[Replay] {WHAT}"]
    assert len(letters) == 3
    for letter in letters:
        assert "Marked as done by Openvolt staff on " in text_of(letter)
        assert "I'm on it" not in text_of(letter)


def test_given_back_and_taken_again_before_the_note_goes_out_is_one_note_that_is_so(case, clock):
    take(case, person(case, ANN), clock())
    sent(clock)
    clock.forward(SECOND)
    give_back(case, person(case, ANN), clock())
    take(case, person(case, BOB), clock())

    assert subjects(sent(clock)) == dict.fromkeys((ANN, EVE), f"{BOB} is on it: {WHAT}")


def test_each_hand_over_is_told_to_whom_it_goes_and_to_the_others(case, clock):
    ann, bob = person(case, ANN), person(case, BOB)
    take(case, ann, clock())
    sent(clock)

    told = []
    for by, to in ((ann, bob), (bob, ann), (ann, bob)):
        clock.forward(SECOND)
        assert hand_over(case, by, to, clock())
        told.append(subjects(sent(clock)))

    assert told == [
        {BOB: f"For you: {WHAT}", EVE: f"{BOB} is on it: {WHAT}"},
        {ANN: f"For you: {WHAT}", EVE: f"{ANN} is on it: {WHAT}"},
        {BOB: f"For you: {WHAT}", EVE: f"{BOB} is on it: {WHAT}"},
    ]


def test_what_somebody_has_who_is_removed_is_nobodys_again_and_the_others_are_told(case, team, clock):
    take(case, person(case, ANN), clock())
    sent(clock)
    assert reminding.let_go(clock()) == 0

    set_recipients(team, [BOB, EVE], clock())

    assert reminding.let_go(clock()) == 1
    assert subjects(sent(clock)) == dict.fromkeys((BOB, EVE), f"Nobody is on it any more: {WHAT}")
    case.refresh_from_db()
    assert take(case, person(case, BOB), clock())


@pytest.mark.parametrize("end", [unsubscribe_recipient, suppressed, delete_all_of_it])
def test_who_unsubscribes_or_is_suppressed_has_it_no_longer(case, clock, end):
    take(case, person(case, ANN), clock())

    end(recipient(ANN), clock())

    assert reminding.let_go(clock()) == 1
    case.refresh_from_db()
    assert case.is_open
    assert cases.person_with(case, recipient(ANN).id) is None


def test_whoever_took_it_finishes_it_also_from_an_email_to_another_spelling_of_the_address(owner, clock):
    spellings = ["ann@xn--bcher-kva.example", "Ann@bücher.example"]
    ann = [factories.confirmed_emails(owner, [each]).recipients.get() for each in spellings]
    publish(owner, REVOKED, factories.example(REVOKED))
    clock.forward_to(timezone.now())
    with mail_server():
        drain("email", clock)
    case = Case.objects.get()
    one, other = (person_with(case, recipient.id) for recipient in ann)
    assert one
    assert other
    assert take(case, one, clock())

    assert finish(case, other, "It was meant.", clock())

    assert Case.objects.get().outcome == "It was meant."


def test_who_is_told_by_another_subscription_too_keeps_it(case, owner, team, clock):
    factories.confirmed_emails(owner, [ANN.upper()])
    take(case, person(case, ANN), clock())

    set_recipients(team, [BOB, EVE], clock())

    assert reminding.let_go(clock()) == 0


def test_a_contact_who_is_removed_has_it_no_longer(owner, clock):
    owner.contacts = [ANN, BOB]
    owner.save()
    case = gone(owner, clock)
    take(case, person(case, ANN), clock())
    assert reminding.let_go(clock()) == 0

    owner.contacts = [BOB]
    owner.save()

    assert reminding.let_go(clock()) == 1


def test_a_contact_whose_address_is_spelled_otherwise_keeps_it(owner, clock):
    owner.contacts = [ANN]
    owner.save()
    case = gone(owner, clock)
    take(case, person(case, ANN), clock())

    owner.contacts = [BOB, ANN.upper()]
    owner.save()

    assert reminding.let_go(clock()) == 0


@pytest.mark.usefixtures("no_dead_rows")
def test_a_look_for_what_nobody_has_any_more_reads_only_what_is_taken(case, clock):
    Case.objects.bulk_create(
        Case(
            id=uuid7(),
            kind=REVOKED,
            application_id=case.application_id,
            event_id=case.event_id,
            state="done",
            done_at=clock(),
        )
        for _ in range(2000)
    )
    take(case, person(case, ANN), clock())

    with connection.cursor() as cursor, CaptureQueriesContext(connection) as seen:
        cursor.execute("ANALYZE deliveries_case")
        assert reminding.let_go(clock()) == 0
        looks = [query["sql"] for query in seen if "taken" in query["sql"]]
        assert len(looks) == 1
        cursor.execute(f"EXPLAIN {looks[0].replace('%', '%%')}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "case_taken" in plan


def test_who_was_not_told_yet_gets_no_note(case, clock):
    Delivery.objects.filter(recipient=recipient(EVE)).update(status="held", next_attempt_at=None)

    take(case, person(case, ANN), clock())

    assert subjects(sent(clock)).keys() == {BOB}


def test_who_wants_digests_gets_the_note_at_the_time_of_the_digest(case, clock):
    choose(recipient(BOB), {"frequency": "hourly"}, clock())

    take(case, person(case, ANN), clock())

    assert subjects(sent(clock)).keys() == {EVE}
    clock.forward(HOUR)
    assert subjects(sent(clock)).keys() == {BOB}


def test_it_is_handed_over_and_the_other_is_told(case, clock):
    take(case, person(case, ANN), clock())
    Notice.objects.all().delete()

    assert hand_over(case, person(case, ANN), person(case, BOB), clock())

    assert case.taken_by == BOB
    assert subjects(sent(clock))[BOB] == f"For you: {WHAT}"
    assert not hand_over(case, person(case, ANN), person(case, EVE), clock())
    assert not finish(case, person(case, ANN), "Called.", clock())


def test_it_is_done_with_a_word_which_is_cleaned_and_bounded(case, clock):
    take(case, person(case, ANN), clock())
    Notice.objects.all().delete()

    outcome = "Called.\r\nBcc: x@example.org \x00\u202e <script> https://evil.example " + "x" * 900
    assert finish(case, person(case, ANN), outcome, clock())

    case.refresh_from_db()
    assert case.outcome.startswith("Called. Bcc: x@example.org <script> https://evil.example xxx")
    assert len(case.outcome) == 500
    messages = sent(clock).messages()
    assert {message["to"] for message in messages} == {BOB, EVE}
    for message in messages:
        assert message["bcc"] is None
        assert "<script>" not in html_of(message)
        assert "https://evil.example" not in text_of(message)
    assert not take(case, person(case, BOB), clock())


def test_the_letters_button_says_who_is_on_it_if_somebody_is(case, team, clock):
    take(case, person(case, ANN), clock())
    replay(case.event, [team.id], clock())

    clock.forward(HOUR)
    with mail_server() as mailbox:
        drain("email", clock)

    texts = [text_of(message) for message in mailbox.messages()]
    told = [text for text in texts if "Delivery " in text]
    hers = [text for text in told if "You have been on it since " in text]
    assert len(told) == 3
    assert len(hers) == 1
    assert "Finish it, hand it over or give it back: open this page" in hers[0]
    for text in {*told} - {*hers}:
        assert "See who is on it: http" in text
        assert f"{ANN} has been on it since " in text
        assert "There is nothing for you to do." in text


@pytest.mark.parametrize(("language", "words"), [("en", "has been on it since"), ("de", "kümmert sich seit")])
def test_a_digest_says_who_is_on_it(owner, clock, language, words):
    factories.confirmed_emails(owner, [ANN])
    factories.confirmed_emails(owner, [BOB])
    choose(recipient(BOB), {"frequency": "hourly", "language": language}, clock())
    for each in (REVOKED, "user.created"):
        publish(owner, each, factories.example(each))
    clock.forward_to(timezone.now())
    with mail_server():
        drain("email", clock)
    case = Case.objects.get()
    take(case, person(case, ANN), clock())

    clock.forward(HOUR + timedelta(seconds=1))
    with mail_server() as mailbox:
        drain("email", clock)

    [digest] = [
        message for message in mailbox.messages() if "Delivery" not in str(message) and message["to"] == BOB
    ]
    text = text_of(digest)
    assert f"{ANN} {words}" in text
    assert text.count("/cases/") == 1


def test_a_digest_says_what_came_of_it(owner, clock):
    factories.confirmed_emails(owner, [ANN])
    factories.confirmed_emails(owner, [BOB])
    choose(recipient(BOB), {"frequency": "hourly", "notes": False}, clock())
    for each in (REVOKED, "user.created"):
        publish(owner, each, factories.example(each))
    clock.forward_to(timezone.now())
    with mail_server():
        drain("email", clock)
    case = Case.objects.get()
    take(case, person(case, ANN), clock())
    finish(case, person(case, ANN), "It was a mistake.", clock())

    clock.forward(HOUR + timedelta(seconds=1))
    with mail_server() as mailbox:
        drain("email", clock)

    assert f"Done by {ANN} on " in text_of(mailbox.message())
    assert "It was a mistake." in text_of(mailbox.message())


def test_what_nobody_takes_is_told_once_more_after_a_working_day(case, clock):
    clock.forward_to(remind_at() - timedelta(seconds=1))
    assert reminding.remind(clock()) == 0

    clock.forward(2 * timedelta(seconds=1))
    assert reminding.remind(clock()) == 1
    assert reminding.remind(clock()) == 0

    clock.forward(GATHER_FOR + HOUR)  # on a busy machine people were told a while after the case was opened
    mailbox = sent(clock)
    assert subjects(mailbox) == dict.fromkeys(
        (ANN, BOB, EVE), "Nobody is on it yet: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    )
    assert "I'm on it: open this page" in text_of(mailbox.messages()[0])
    clock.forward(10 * DAY)
    assert reminding.remind(clock()) == 0


def test_whoever_took_it_and_did_nothing_for_a_working_day_is_reminded_alone_and_once(case, clock):
    take(case, person(case, ANN), clock())
    sent(clock)
    clock.forward_to(remind_at() - SECOND)
    assert reminding.remind(clock()) == 0

    clock.forward(SECOND)
    assert reminding.remind(clock()) == 1

    clock.forward(GATHER_FOR)
    mailbox = sent(clock)
    assert subjects(mailbox) == {ANN: f"You are still on it: {WHAT}"}
    assert "Finish it, hand it over or give it back: open this page" in text_of(mailbox.message())
    clock.forward(10 * DAY)
    assert reminding.remind(clock()) == 0


def test_what_is_finished_is_not_told_again(case, clock):
    take(case, person(case, ANN), clock())
    clock.forward_to(remind_at())
    reminding.remind(clock())
    finish(case, person(case, ANN), "Called.", clock())

    clock.forward(10 * DAY)

    assert reminding.remind(clock()) == 0
    assert set(subjects(sent(clock)).values()) == {f"Done: {WHAT}"}


def test_whom_it_is_handed_over_to_has_a_working_day_of_their_own(case, clock):
    take(case, person(case, ANN), clock())
    clock.forward(DAY / 2)
    hand_over(case, person(case, ANN), person(case, BOB), clock())

    assert remind_at() >= clock() + DAY


def test_who_was_told_by_a_digest_is_reminded_a_working_day_after_it(case, clock):
    told_at = case.created_at + 14 * HOUR
    Delivery.objects.filter(recipient=recipient(BOB)).update(finished_at=told_at)
    clock.forward_to(remind_at())
    reminding.remind(clock())

    due = {one.email: one.due_at or NEVER for one in Notice.objects.filter(kind="case_unhandled")}
    assert due[BOB] == after_working(DAY, told_at, "UTC") + GATHER_FOR
    assert due[EVE] < due[BOB]


def test_while_nobody_was_told_nobody_is_reminded_and_later_they_are(case, clock):
    Delivery.objects.update(status="held", finished_at=None)
    clock.forward_to(remind_at())
    reminding.remind(clock())
    assert kinds() == []

    Delivery.objects.update(status="succeeded", finished_at=clock())
    clock.forward_to(remind_at())
    reminding.remind(clock())

    assert kinds() == ["case_unhandled"] * 3


def test_a_reminder_that_comes_too_late_is_not_sent(case, clock):
    clock.forward_to(remind_at())
    reminding.remind(clock())
    clock.forward(GATHER_FOR)
    take(case, person(case, ANN), clock())

    assert set(subjects(sent(clock)).values()) == {
        f"{ANN} is on it: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    }


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_remind_once(case, clock):
    clock.forward_to(remind_at())
    together, done = threading.Barrier(2), []

    def run() -> None:
        together.wait(60)
        done.append(reminding.remind(clock()))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(done) == [0, 1]
    assert kinds() == ["case_unhandled"] * 3


def test_a_sweep_that_is_cut_short_leaves_all_of_it_to_the_next(case, clock, monkeypatch):
    clock.forward_to(remind_at())

    with monkeypatch.context() as patched:
        patched.setattr(Case, "save", cut_short)
        with pytest.raises(KeyboardInterrupt):
            reminding.remind(clock())
    assert kinds() == []

    assert reminding.remind(clock()) == 1
    assert kinds() == ["case_unhandled"] * 3


def cut_short(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_sweep_asks_the_earlier_clock_and_can_be_turned_off(case, clock, monkeypatch):
    clock.forward_to(remind_at())
    monkeypatch.setattr("deliveries.chores.earlier_clock", clock)

    with override_settings(HANDLING_REMINDER=timedelta(0)):
        reminding.sweep()
        assert kinds() == []
    reminding.sweep()
    assert kinds() == ["case_unhandled"] * 3


def test_with_reminders_turned_off_none_is_planned(team):
    with override_settings(HANDLING_REMINDER=timedelta(0)):
        publish(team.application, REVOKED, factories.example(REVOKED))

    assert Case.objects.get().remind_at is None


@pytest.mark.parametrize("was_reminded_of", [False, True])
def test_given_back_it_is_told_again_after_a_new_working_day(case, clock, was_reminded_of):
    if was_reminded_of:
        clock.forward_to(remind_at())
        reminding.remind(clock())
        clock.forward(GATHER_FOR)
        sent(clock)
    take(case, person(case, ANN), clock())
    clock.forward(8 * DAY)

    give_back(case, person(case, ANN), clock())

    assert remind_at() > clock() + DAY - timedelta(minutes=1)
    sent(clock)
    clock.forward_to(remind_at())
    reminding.remind(clock())
    clock.forward(GATHER_FOR)
    assert subjects(sent(clock)) == dict.fromkeys((ANN, BOB, EVE), f"Nobody is on it yet: {WHAT}")


def test_a_reminder_that_waits_while_it_is_taken_and_given_back_is_not_sent(case, clock):
    clock.forward_to(remind_at())
    reminding.remind(clock())
    take(case, person(case, ANN), clock())
    give_back(case, person(case, ANN), clock())
    clock.forward(GATHER_FOR)

    assert subjects(sent(clock)) == {}


@pytest.mark.parametrize(
    ("since", "zone", "expected"),
    [
        ("2026-11-03T10:00", "UTC", "2026-11-04T10:00"),  # a Tuesday
        ("2026-11-06T10:00", "UTC", "2026-11-09T10:00"),  # a Friday
        ("2026-11-07T10:00", "UTC", "2026-11-10T00:00"),  # a Saturday
        ("2026-11-08T23:00", "Asia/Tokyo", "2026-11-09T23:00"),  # Monday there already
        ("2026-11-06T23:00", "America/New_York", "2026-11-09T23:00"),  # still Friday there
        ("2026-10-23T12:00", "Europe/Berlin", "2026-10-26T13:00"),  # over the end of summer time
        ("2026-11-03T10:00", "Mars/Olympus", "2026-11-04T10:00"),
    ],
)
def test_a_working_day_leaves_out_the_weekend_on_the_readers_wall(since, zone, expected):
    begin = datetime.fromisoformat(since).replace(tzinfo=UTC)

    assert after_working(DAY, begin, zone) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def gone(owner: Application, clock: Clock) -> Case:
    subscription = factories.webhook(owner)
    disable(subscription, clock(), "The receiver answered 410.")
    subscription.refresh_from_db()
    tell_gone(subscription, clock())
    return Case.objects.get()


def test_a_disabled_endpoint_is_a_case_for_the_contacts_and_its_email_has_the_button(owner, clock):
    owner.contacts = [ANN, BOB]
    owner.save()

    case = gone(owner, clock)
    clock.forward(GATHER_FOR)

    mailbox = sent(clock)
    assert subjects(mailbox).keys() == {ANN, BOB}
    for message in mailbox.messages():
        assert "I'm on it: open this page" in text_of(message)
    assert take(case, person(case, ANN), clock())
    assert hand_over(case, person(case, ANN), person(case, BOB), clock())
    assert subjects(sent(clock)) == {BOB: "For you: Webhooks to 127.0.0.1:9 are disabled"}


def test_an_endpoint_that_fails_for_five_days_becomes_a_case(owner, clock, monkeypatch):
    monkeypatch.setattr("deliveries.chores.earlier_clock", clock)
    now = clock()
    factories.webhook(
        owner,
        failing_since=now - DISABLE_AFTER,
        failure_count=9,
        last_failed_at=now,
        told_failing_since=now - DISABLE_AFTER,
        disable_at=now,
    )

    sweep()

    assert Case.objects.get().kind == "disabled"


def test_a_resumed_endpoint_needs_nobody_any_more(owner, clock):
    case = gone(owner, clock)
    assert case.subscription

    resume(case.subscription, clock())

    case.refresh_from_db()
    assert (case.state, case.outcome) == ("done", "The subscription was resumed.")


def test_nobody_is_said_to_have_done_what_a_resume_has_ended(owner, clock):
    case = gone(owner, clock)
    k1 = person(case, owner.contacts[0])
    take(case, k1, clock())
    assert case.subscription

    resume(case.subscription, clock())

    page = press(page_of(case, k1.email), "done")
    assert page.status_code == 409
    assert "It is done. The subscription was resumed." in page.content.decode()
    assert "Done by" not in page.content.decode()

    case.application.let_read(k1.email, "Europe/Berlin", "de")
    in_german = press(page_of(case, k1.email), "done").content.decode()
    assert "Es ist erledigt. Das Abonnement wurde wieder eingeschaltet." in in_german


def test_an_application_without_contacts_has_no_case(owner, clock):
    owner.contacts = []
    owner.save()
    subscription = factories.webhook(owner)

    tell_gone(subscription, clock())

    assert not Case.objects.exists()


def test_what_people_do_is_in_the_audit_log_without_their_words(case, clock):
    with acting(Actor("person", "", ANN)):
        take(case, person(case, ANN), clock())
        finish(case, person(case, ANN), "Tom Okafor moved out.", clock())

    entries = AuditEntry.objects.filter(object_type="case").order_by("id")
    assert [(entry.action, entry.actor) for entry in entries] == [("case.taken", ANN), ("case.done", ANN)]
    assert "Tom" not in str([*entries.values()])


def test_erasing_a_customer_blanks_what_was_written_about_them(case, clock):
    take(case, person(case, ANN), clock())
    finish(case, person(case, ANN), "Tom Okafor moved out.", clock())

    erase(case.application, case.event.payload_json["customer_id"], clock())

    case.refresh_from_db()
    assert (case.outcome, case.taken_by) == ("", ANN)


def test_a_case_is_forgotten_with_its_event_and_not_before(case, owner, clock):
    assert forget_cases(clock() + DAY) == 0

    with transaction.atomic(), retention_over(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM deliveries_attempt")
        cursor.execute("DELETE FROM deliveries_sequencenumber")
        cursor.execute("DELETE FROM deliveries_delivery")
        cursor.execute("DELETE FROM events_event")
    assert forget_cases(case.created_at) == 0
    assert forget_cases(clock() + DAY) == 1


def test_staff_give_back_what_nobody_sees_to(case, clock):
    assert not reopen(case, clock())
    take(case, person(case, ANN), clock())

    assert reopen(case, clock())

    assert take(case, person(case, BOB), clock())


def test_the_database_refuses_a_case_of_nothing(owner):
    with pytest.raises(IntegrityError), transaction.atomic():
        Case.objects.create(id=UUID(int=1), kind=REVOKED, application=owner)


def test_nobody_of_another_application_is_told(case):
    stranger = factories.confirmed_emails(factories.application("Other"), ["x@example.org"]).recipients.get()

    assert cases.person_with(case, stranger.id) is None
