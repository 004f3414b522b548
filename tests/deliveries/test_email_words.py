"""What emails say: to whom, in whose time and language, and what there is to do."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import polib  # type: ignore[import-untyped]
import pytest

from deliveries.channels import EmailTarget, Notification
from deliveries.channels.email import message, send_email
from deliveries.channels.wording import Wording, confirmation_wording, notification_wording, sentences
from deliveries.letters import Told, pass_on, write_to
from deliveries.letters.events import LETTERS, SENTENCES
from deliveries.letters.handling import HANDLED
from deliveries.letters.reader import LANGUAGES, Reader
from events.event_types import EVENT_TYPES
from tests.lookbook.emails import LONDON, Sample, Writer, samples
from tests.support.smtp import mail_server

ROOT = Path(__file__).resolve().parent.parent.parent
GERMAN = ROOT / "locale" / "de" / "LC_MESSAGES" / "django.po"
COMPILE = "as docs/email.md says"
ON_PAGES = re.compile(r'{% translate "(.+?)" %}|{% blocktranslate [^%]*%}(.+?){% endblocktranslate %}')
FILLED_IN = re.compile(r"{{ (\w+) }}")
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")
ID = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
HAPPENED = datetime(2026, 11, 2, 16, 5, 41, tzinfo=UTC)
CONSENT: dict[str, Any] = EVENT_TYPES["hosted_consent.revoked"].example
BERLIN = ("Europe/Berlin", "de")


def wording(event_type: str, payload: Any = ..., reader: tuple[str, str] = ("UTC", "en")) -> Wording:
    chosen = EVENT_TYPES[event_type].example if payload is ... else payload
    notification = Notification(ID, ID, ID, event_type, HAPPENED, json.dumps(chosen))
    return notification_wording(notification, EmailTarget("ann@example.org", ID, "Green Homes", *reader))


def told(payload: Any) -> Told:
    return Told("hosted_consent.revoked", HAPPENED, payload, "Green Homes", Reader())


def mailto(words: Wording) -> str:
    """The email that the HTML part offers to write."""
    found = re.search(r'<a [^>]*href="(mailto:[^"]+)"', words.html)
    assert found
    return found[1].replace("&amp;", "&")


def catalogue() -> polib.POFile:
    return polib.pofile(str(GERMAN))


def test_every_type_has_a_letter_of_its_own_and_the_sentence_of_the_catalogue():
    assert LETTERS.keys() == EVENT_TYPES.keys()
    assert {name: each.sentence for name, each in EVENT_TYPES.items()} == SENTENCES


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_email_says_what_happened_what_it_means_and_what_to_do_and_has_one_button(event_type):
    words = wording(event_type)

    buttons = re.findall(r'<a href="([^"]+)"', words.html)
    assert len(buttons) == 1
    [mailto] = re.findall(r'<a [^>]*href="(mailto:[^"]+)"', words.html)
    assert buttons[0] == mailto or (event_type in HANDLED and "/cases/" in buttons[0])
    assert words.text.split("\n", 1)[0] in words.html.replace("&#x27;", "'")
    for part in (words.text, words.html):
        assert part.lower().index("what you can do") < part.lower().index("details")
        assert "You get this because ann@example.org agreed" in part
        assert "notification.json" in part


def test_a_revoked_consent_says_whose_since_when_what_stops_and_whom_to_ask():
    customer = {"_id": "1", "name": "Tom Okafor", "email": "tom@mail.example"}

    words = wording("hosted_consent.revoked", CONSENT | {"customer": customer}, ("Europe/London", "en"))

    assert words.subject == "Consent revoked by Tom Okafor: Flat 2 electricity"
    assert words.text.startswith(
        "No new data since 2 Nov 2026, 16:05 GMT from the meters under this consent."
    )
    assert "Tom Okafor withdrew the consent “Flat 2 electricity” on 2 Nov 2026, 16:05 GMT." in words.text
    assert "Reason given: The customer asked support to withdraw it." in words.text
    assert mailto(words) == (
        "mailto:tom@mail.example?subject=Consent%20revoked%20by%20Tom%20Okafor%3A%20Flat%202%20electricity"
    )
    assert "Write to Tom Okafor: write to tom@mail.example." in words.text


def test_a_consent_that_has_ended_has_no_end_to_come():
    words = wording("hosted_consent.revoked")

    assert "expiry" in CONSENT
    assert "2027" not in words.text + words.html


def test_without_a_name_the_customer_is_known_by_the_id():
    nameless = {"_id": "1", "customer_id": "65a0"}

    assert wording("hosted_consent.revoked").subject == (
        "Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    )
    assert wording("hosted_consent.revoked", nameless).subject == "Consent revoked: customer 65a0"
    assert "Customer 65a0 withdrew consent to read their meters on 2 Nov 2026, 16:05 UTC." in (
        wording("hosted_consent.revoked", nameless).text
    )


def test_a_rotated_key_says_which_by_whom_and_until_when_the_old_one_works():
    words = wording("api_keys.rotated")

    assert words.text.startswith("The old key works until 4 Nov 2026, 10:30 UTC.")
    assert (
        "priya.shah@greenhomes.example replaced the API key “CI deploys” of Green Homes on 3 Nov"
        in words.text
    )
    assert urlsplit(mailto(words)).path == ""


def test_a_rotation_that_nobody_is_named_for_says_so_much():
    payload = {"api_key_id": "1", "prefix": "ovk_1", "rotated_at": "now", "rotated_by": None}

    words = wording("api_keys.rotated", payload)

    assert words.text.startswith("The old key has stopped working.")
    assert "The API key “ovk_1” of Green Homes was replaced on 2 Nov 2026, 16:05 UTC." in words.text
    assert mailto(words).startswith("mailto:?subject=")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b",
        "x@example.org?bcc=victim@example.org",
        "x@example.org&cc=y@example.org",
        "x@example.org,y@example.org",
        "x@example.org\r\nBcc: y@example.org",
        "x%40example.org@example.org",
        '"><script>"@example.org',
        "javascript:alert(1)@example.org",
        f"{'x' * 200}@example.org",
        "zoë@example.org",
        {"deep": "x@example.org"},
        ["x@example.org"],
        None,
    ],
)
def test_no_address_but_a_plain_one_becomes_a_button(address):
    assert write_to(told({"email": address}), "email", "Write", "Hello") is None


def test_a_button_that_passes_on_opens_an_email_with_all_said_and_nobody_named():
    action = pass_on(
        "Tell", "A & B?bcc=x@example.org\r\n", "What #happened & when\r\nBcc: x@example.org " + "y" * 999
    )

    parts = urlsplit(action.url)
    fields = parse_qs(parts.query)
    assert parts.path == ""
    assert fields.keys() == {"subject", "body"}
    assert unquote(fields["body"][0]).startswith("What #happened & when Bcc: x@example.org y")
    assert len(fields["body"][0]) == 300


def test_times_are_the_readers_with_what_clocks_there_call_them():
    assert Reader("Europe/London").moment(HAPPENED) == "2 Nov 2026, 16:05 GMT"
    assert Reader("Europe/London").moment(HAPPENED.replace(month=7)) == "2 Jul 2026, 17:05 BST"
    assert Reader("America/New_York").moment(HAPPENED) == "2 Nov 2026, 11:05 EST"
    assert Reader("Asia/Dubai").moment(HAPPENED) == "2 Nov 2026, 20:05 UTC+4"
    assert Reader("America/Sao_Paulo").moment(HAPPENED) == "2 Nov 2026, 13:05 UTC-3"
    assert Reader("Asia/Kathmandu").moment(HAPPENED) == "2 Nov 2026, 21:50 UTC+5:45"
    assert "Time zone: Europe/London" in wording("user.created", reader=("Europe/London", "en")).text


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "UTC", "x" * 5000]
)
def test_an_unknown_time_zone_is_read_as_utc(zone):
    assert Reader(zone).moment(HAPPENED) == "2 Nov 2026, 16:05 UTC"
    assert "Time zone: UTC" in wording("user.created", reader=(zone, "en")).text


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_ends_of_time_have_no_local_time(zone, moment):
    assert "UTC" in Reader(zone).moment(moment.replace(tzinfo=UTC)) or str(moment.year) in Reader(zone).day(
        moment.replace(tzinfo=UTC)
    )


@pytest.mark.parametrize("language", ["", "fr", "tlh", "../de", "de" * 500])
def test_an_unknown_language_is_read_as_english(language):
    assert wording("user.created", reader=("UTC", language)).subject == "Person given access: Priya Shah"


def test_a_german_reader_gets_everything_in_german_and_the_next_reader_nothing_of_it():
    words = wording("hosted_consent.revoked", reader=BERLIN)

    assert words.subject == "Einwilligung widerrufen von Kunde 65a0…b94e01: Flat 2 electricity"
    assert (
        "Kunde 65a0e9b1c6d83f20a7b94e01 hat am 2. Nov. 2026, 17:05 Uhr MEZ die Einwilligung "
        "„Flat 2 electricity“ widerrufen." in words.text
    )
    assert "Endet: 12. Okt. 2027, 02:00 Uhr MESZ" in wording("hosted_consent.approved", reader=BERLIN).text
    assert '<html lang="de"' in words.html
    assert wording("hosted_consent.revoked").subject.startswith("Consent revoked")


def test_the_question_is_asked_in_the_readers_language():
    words = confirmation_wording("ann@example.org", "Green Homes", ["*"], ID, HAPPENED, Reader(*BERLIN))

    assert words.subject == "Bitte bestätigen: E-Mails über Green Homes"
    assert "Ein Zähler wurde angelegt." in words.text
    assert "bis zum 2. Dez. 2026" in words.text
    with mail_server() as mailbox:
        assert send_email(lambda: message(words, "ann@example.org", ID, HAPPENED, ""), ID).succeeded
    assert mailbox.message()["subject"] == words.subject


def test_each_language_is_there_whole_with_the_same_placeholders_and_compiled():
    entries = {entry.msgid: entry for entry in catalogue()}
    translated = {
        msgid: [*entry.msgstr_plural.values()] or [entry.msgstr] for msgid, entry in entries.items()
    }

    assert LANGUAGES.keys() == {"en", *(path.name for path in (ROOT / "locale").iterdir())}
    for msgid, words in translated.items():
        assert all(words), msgid
        expected = set(PLACEHOLDER.findall(msgid)) | set(PLACEHOLDER.findall(entries[msgid].msgid_plural))
        assert set().union(*map(PLACEHOLDER.findall, words)) == expected, msgid
        assert not entries[msgid].fuzzy, msgid
    compiled = polib.mofile(str(GERMAN.with_suffix(".mo")))
    assert {(e.msgid, e.msgstr, *e.msgstr_plural.values()) for e in compiled} == {
        (e.msgid, e.msgstr, *e.msgstr_plural.values()) for e in catalogue()
    }, f"Compile it again: {COMPILE}"


def test_the_catalogue_has_all_that_emails_say_and_nothing_else():
    files = [
        *(ROOT / "deliveries/channels").glob("*wording.py"),
        *(ROOT / "deliveries/letters").rglob("*.py"),
    ]
    files += [ROOT / "deliveries/cases.py", ROOT / "openvolt_events/preferences.py"]
    said = {words for path in files for words in marked(path)}
    pages = [
        page for at in ("recipients", "cases", "contacts") for page in (ROOT / "templates" / at).iterdir()
    ]
    said |= {words for page in pages for words in on_page(page)}

    assert {entry.msgid for entry in catalogue()} == said


def on_page(path: Path) -> Iterator[str]:
    """The texts that a template marks for translation."""
    for plain, with_names in ON_PAGES.findall(path.read_text()):
        yield plain or FILLED_IN.sub(r"%(\1)s", with_names)


def marked(path: Path) -> Iterator[str]:
    """The texts that a file marks for translation."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
            "_",
            "ngettext",
            "gettext_noop",
            "gettext_lazy",
        }:
            [text, *_] = node.args
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def test_what_is_wanted_is_said_in_the_words_of_the_catalogue():
    assert sentences(["*"]) == [each.sentence for each in EVENT_TYPES.values()]


@cache
def look_book() -> dict[str, Sample]:
    return {sample.name: sample for sample in samples()}


def test_nobody_is_told_to_pass_on_their_own_links():
    for sample in look_book().values():
        said = sample.wording.text.lower()
        assert "forward this email" not in said, sample.name
        assert "pass this email on" not in said, sample.name
        assert "leiten sie diese e-mail" not in said, sample.name
    assert "Ask your team who it is: write an email of your own. Do not forward this one" in (
        wording("user.created").text
    )


@pytest.mark.parametrize(
    "name", ["hosted_consent.revoked.taken", "case.taken", "case.done", "digest.all_taken"]
)
def test_a_page_without_a_button_is_only_to_be_opened(name):
    lines = [line for line in look_book()[name].wording.text.split("\n") if "/cases/" in line]

    assert lines
    for line in lines:
        assert "See " in line, line
        assert "press" not in line, line


def test_what_a_digest_says_to_quote_is_known_to_the_api_and_the_admin():
    text = look_book()["digest"].wording.text

    assert "If you need help, quote this:\n  Delivery c9d893a1-11dc-4063-834f-35bff4437ca2" in text


def test_a_digests_preview_names_its_first_events_whole_and_its_text_says_them_once():
    sample = look_book()["digest.forty"]
    told = [line for line in sample.wording.text.split("\n") if line.startswith("  - ")]

    for named in sample.first_line.split(" · "):
        assert not named.endswith("…"), named
        assert any(named in line for line in told), named
    assert sample.wording.text.startswith("This happened at Green Homes")
    assert sample.first_line not in sample.wording.text


def test_each_of_a_dozen_that_need_somebody_has_its_button_in_a_digest():
    sample = Writer(LONDON).digest("digest", "", [("hosted_consent.revoked", CONSENT)] * 12)

    assert sample.wording.text.count("I'm on it: open this page") == 12
    assert "listed in notifications.json" not in sample.wording.text


def test_the_preview_of_a_warning_is_understood_by_itself_and_said_once():
    words = look_book()["outage.disabling"]

    assert words.first_line.startswith("Failed attempts in a row: 1,204. The receiver answered 503")
    assert words.wording.text.count("One attempt that succeeds before then") == 1


def test_a_list_of_disabled_subscriptions_says_when_each_was_disabled_and_not_since_when_it_failed():
    text = look_book()["outages.gone"].wording.text

    line = "  - CRM, production (hooks.greenhomes.\u200bexample/openvolt/events): on 2 Nov 2026, 09:13 GMT."
    assert f"{line} Failed for good: 212.\n" in text
    assert "29 Oct" not in text


def test_a_receiver_that_is_gone_may_have_meant_it():
    assert "If that was meant, delete the subscription." in look_book()["outage.gone"].wording.text
    assert "If that was meant" not in look_book()["outage.disabled"].wording.text


def test_who_has_chosen_no_time_zone_reads_how_to():
    assert "Time zone: UTC; choose yours by the link at the end" in wording("user.created").text
    assert "choose yours" not in wording("user.created", reader=("Europe/London", "en")).text


def test_a_digest_tells_of_thirteen_months_of_one_meter_as_one_row_with_one_bar():
    sample = look_book()["digest.backfill"]
    text = sample.wording.text

    assert text.count("Meter 65a1f0c2b7d94e31a8c05f12:") == 1
    assert "Oct 2025 █████████████ Oct 2026 (13 of 13 months complete)" in text
    assert "13 BATCHES OF NEW METER DATA" in text
    assert text.count("  - New meter data: 1 meter, ") == 3
    assert "  - and 10 more, listed in notifications.json" in text


def test_a_digest_leaves_out_of_its_summary_what_breaks_the_schema_and_still_names_each_event():
    sample = look_book()["digest.odd"]

    assert "None" not in sample.wording.text + sample.wording.html
    assert "6 BATCHES OF NEW METER DATA" in sample.wording.text
    assert "(2 of 2 months complete)" in sample.wording.text
