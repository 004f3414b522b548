"""Signing in: guessing is locked out, and what a browser keeps is kept from everybody else."""

import runpy
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlencode

import pytest
import time_machine
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from deliveries.housekeeping import keep_house

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
RIGHT, WRONG = "tulip-Nine-9", "guess"


@pytest.fixture(autouse=True)
def ann() -> User:
    return User.objects.create_user("ann", password=RIGHT, is_staff=True)


def sign_in(password: str, name: str = "ann", address: str = "192.0.2.1", **headers: str) -> int:
    fields = {"username": name, "password": password, "next": "/admin/"}
    return Client(REMOTE_ADDR=address).post(LOGIN, fields, headers=headers).status_code


def guess(times: int, **more: str) -> list[int]:
    return [sign_in(WRONG, **more) for _ in range(times)]


def test_five_wrong_passwords_lock_out_the_right_one_too() -> None:
    assert guess(4) == [200] * 4
    assert sign_in(RIGHT) == 302

    assert guess(5)[-1] == 429
    assert sign_in(RIGHT) == 429


def test_who_is_locked_out_is_told_for_how_long() -> None:
    guess(5)

    answer = Client(REMOTE_ADDR="192.0.2.1").post(LOGIN, {"username": "ann", "password": RIGHT})

    assert "quarter of an hour" in answer.content.decode()
    assert RIGHT not in answer.content.decode()


def test_a_lock_out_ends_by_itself_or_by_whoever_runs_the_service() -> None:
    guess(5)
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert sign_in(RIGHT) == 302

    guess(5)
    call_command("axes_reset_username", "ann")
    assert sign_in(RIGHT) == 302


def test_a_lock_out_is_no_weapon_against_who_signs_in_elsewhere() -> None:
    guess(6, address="198.51.100.7")

    assert sign_in(RIGHT, address="192.0.2.1") == 302


def test_neither_another_browser_nor_an_invented_address_gets_around_a_lock_out() -> None:
    guess(5)

    assert sign_in(RIGHT, user_agent="another") == 429
    assert sign_in(RIGHT, x_forwarded_for="203.0.113.9") == 429


def test_behind_our_own_proxy_guesses_count_for_who_the_proxy_was_asked_by(settings) -> None:
    settings.TRUSTED_PROXIES = [ip_network("192.0.2.0/24")]
    guess(5, x_forwarded_for="203.0.113.9")

    assert sign_in(RIGHT, x_forwarded_for="203.0.113.9") == 429
    assert sign_in(RIGHT, x_forwarded_for="203.0.113.10") == 302


def test_all_addresses_of_a_network_of_ipv6_count_as_one() -> None:
    for last in range(5):
        sign_in(WRONG, address=f"2001:db8:5::{last}")

    assert sign_in(RIGHT, address="2001:db8:5::ffff") == 429
    assert sign_in(RIGHT, address="2001:db8:5:1::1") == 302


def test_a_guess_for_each_of_many_names_locks_out_the_address_and_nobody_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr("openvolt_events.signing_in.MOST_FAILURES", 8)

    answers = [sign_in(WRONG, name=f"name{number}") for number in range(9)]

    assert answers == [200] * 7 + [429] * 2
    assert sign_in(RIGHT) == 429
    assert sign_in(RIGHT, address="192.0.2.2") == 302
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert sign_in(RIGHT) == 302


def test_who_knows_a_password_guesses_no_more_of_the_others(monkeypatch) -> None:
    monkeypatch.setattr("openvolt_events.signing_in.MOST_FAILURES", 8)
    for number in range(8):
        sign_in(WRONG, name=f"name{number}")
        sign_in(RIGHT)

    assert sign_in(RIGHT) == 429


@pytest.mark.parametrize("address", ["127.0.0.1", "172.17.0.2", ""])
def test_everybody_is_not_locked_out_with_one_behind_a_proxy_that_the_settings_lack(
    monkeypatch, address: str
) -> None:
    monkeypatch.setattr("openvolt_events.signing_in.MOST_FAILURES", 8)
    for number in range(9):
        sign_in(WRONG, name=f"name{number}", address=address, x_forwarded_for="203.0.113.9")

    assert sign_in(RIGHT, address=address, x_forwarded_for="203.0.113.10") == 302


def test_no_password_that_was_tried_is_kept_or_logged(caplog) -> None:
    caplog.set_level("DEBUG")
    sign_in("a-mistyped-real-password")
    sign_in("a-mistyped-real-password")

    attempt = AccessAttempt.objects.get()
    kept = f"{attempt.get_data} {attempt.post_data} {attempt.path_info}"
    assert attempt.failures_since_start == 2
    assert "a-mistyped-real-password" not in kept + caplog.text


def test_failures_that_count_no_more_are_forgotten() -> None:
    for name in ("eve", "mallory"):
        guess(1, name=name)

    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        guess(1)

    assert [attempt.username for attempt in AccessAttempt.objects.all()] == ["ann"]


def test_a_session_is_new_at_each_sign_in_and_ends_with_it() -> None:
    browser = Client()
    browser.cookies["sessionid"] = "chosen-by-somebody-else"
    browser.post(LOGIN, {"username": "ann", "password": RIGHT, "next": "/admin/"})
    assert browser.cookies["sessionid"].value != "chosen-by-somebody-else"
    stolen = browser.cookies["sessionid"].value

    browser.post("/admin/logout/")

    thief = Client()
    thief.cookies["sessionid"] = stolen
    assert thief.get("/admin/").status_code == 302
    assert not Session.objects.filter(pk=stolen).exists()


def test_a_session_lasts_a_working_day() -> None:
    browser = Client()
    browser.post(LOGIN, {"username": "ann", "password": RIGHT, "next": "/admin/"})
    assert browser.get("/admin/").status_code == 200

    with time_machine.travel(timezone.now() + timedelta(hours=12, minutes=1)):
        assert browser.get("/admin/").status_code == 302


def test_a_session_that_has_ended_is_forgotten_by_housekeeping(ann: User) -> None:
    with time_machine.travel(timezone.now() - timedelta(hours=13)):
        Client().force_login(ann)
    kept = Client()
    kept.force_login(ann)

    keep_house()

    assert [session.pk for session in Session.objects.all()] == [kept.cookies["sessionid"].value]


def test_a_new_password_ends_the_sessions_of_the_old_one(ann: User) -> None:
    browser = Client()
    browser.force_login(ann)
    ann.set_password("another-Nine-9")
    ann.save()

    assert browser.get("/admin/").status_code == 302


def test_a_form_of_another_site_is_refused(ann: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ann)

    for url in ("/admin/deliveries/delivery/", "/admin/logout/", "/admin/password_change/", LOGIN):
        assert browser.post(url, {"action": "cancel"}).status_code == 403


def test_the_cookies_are_out_of_reach_for_scripts_and_other_sites() -> None:
    browser = Client()
    browser.get(LOGIN)
    browser.post(LOGIN, {"username": "ann", "password": RIGHT, "next": "/admin/"})

    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        assert browser.cookies[name]["httponly"]
        assert browser.cookies[name]["samesite"] == "Lax"


def test_behind_https_cookies_are_sent_by_https_only_and_bound_to_the_host(monkeypatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", "https://events.example.com")

    chosen = runpy.run_path(str(Path(settings.BASE_DIR) / "openvolt_events" / "settings.py"))

    assert chosen["SESSION_COOKIE_SECURE"]
    assert chosen["CSRF_COOKIE_SECURE"]
    assert chosen["SESSION_COOKIE_NAME"] == "__Host-sessionid"
    assert chosen["CSRF_COOKIE_NAME"] == "__Host-csrftoken"


def test_signing_in_leads_to_no_other_site() -> None:
    query = urlencode({"next": "https://evil.example/"})

    answer = Client().post(f"{LOGIN}?{query}", {"username": "ann", "password": RIGHT})

    assert answer.headers["location"] == "/admin/"
