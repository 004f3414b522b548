"""Names that others chose, as people are shown them: the same in the admin and in emails."""

import html
import re
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from deliveries.channels.wording import confirmation_wording
from tests.support import factories

pytestmark = pytest.mark.django_db

RECIPIENT = UUID(int=7)
ISOLATES = "\u2068\u2069"  # around what reads from right to left, which are the email's own


def in_the_admin(name: str, client: Client) -> str:
    factories.application(name)
    page = client.get("/admin/accounts/application/").content.decode()
    return html.unescape(re.findall(r'<th class="field-[^>]+><a [^>]+>([^<]*)</a>', page)[0])


def in_an_email(name: str) -> str:
    words = confirmation_wording("ann@example.org", name, ["*"], RECIPIENT, timezone.now())
    return words.subject.removeprefix("Please confirm: emails about ").strip(ISOLATES)


def shown_as(name: str, client: Client) -> str:
    [shown] = {in_the_admin(name, client), in_an_email(name)}
    return shown


@pytest.mark.parametrize(
    "hiding",
    [
        "Pay\u202epal",  # turns around what follows
        "Pay\u2067pal\u2069",
        "Pay\u061cpal",
        "Pay\u200bpal",  # of no width
        "Pay\ufeffpal",
        "Pay\u00adpal",
        "Pay\u3164pal",  # fillers, which are letters to Unicode
        "Pay\uffa0pal",
        "Pay\u115f\u1160pal",
        "Pay\u2800pal",
        "Pay\u034fpal",
        "Pay\U000e0070pal",  # letters that are tags
        "Pay\u200dpal",  # joiners, where nothing is joined
        "Pay\u3164\u200cpal",
    ],
)
def test_what_hides_in_a_name_is_left_out(hiding: str, admin_client: Client) -> None:
    assert shown_as(hiding, admin_client) == "Paypal"


@pytest.mark.parametrize(
    ("hiding", "shown"),
    [
        ("Жи\u200dлищный", "Жилищный"),
        ("Ελ\u200cλάς", "Ελλάς"),
        ("Zoë\u200dAG", "ZoëAG"),
        ("می\u200c\u200c\u200dخرید", "می\u200cخرید"),
    ],
)
def test_joiners_that_join_nothing_are_left_out_of_any_script(
    hiding: str, shown: str, admin_client: Client
) -> None:
    assert shown_as(hiding, admin_client) == shown


def test_what_hides_leaves_no_gap_behind(admin_client: Client) -> None:
    assert shown_as(" Green \u200b\n Homes \u3164", admin_client) == "Green Homes"


@pytest.mark.parametrize(
    "name",
    [
        "می\u200cخرید",  # Persian, Hindi and Bengali have joiners
        "क\u094d\u200dष",
        "র\u200d\u09cdয",
        "👩\u200d👩\u200d👧 Familie",
        "🏳\ufe0f\u200d🌈",
        "❤\ufe0f Solar",
        "\u0601\u0661\u0669 سنة",  # Arabic signs for years and verses, which are formats to Unicode
        "\u06ddشمس",
        "משפחת כהן",
        "葛\U000e0100城",  # which form of the first
        "Zoë & Söhne",
    ],
)
def test_what_is_seen_stays_in_a_name(name: str, admin_client: Client) -> None:
    assert shown_as(name, admin_client) == name


def test_an_application_whose_name_is_all_hidden_is_shown_by_its_id(admin_client: Client) -> None:
    owner = factories.application("\u3164\u115f\u2800")

    assert str(owner) == str(owner.id)
