"""The form of API keys: found by scanners, and told from what only looks like one."""

import re

import pytest

from accounts.keys import ALPHABET, MODES, base62, mode_of, new_key

FORM = re.compile(r"ovk_(live|test)_[0-9A-Za-z]{49}")


@pytest.mark.parametrize("mode", MODES)
def test_every_key_has_the_form_that_scanners_look_for_and_says_its_mode(mode):
    keys = [new_key(mode) for _ in range(200)]

    assert all(FORM.fullmatch(key) for key in keys)
    assert {mode_of(key) for key in keys} == {mode}
    assert len(set(keys)) == 200


def test_a_key_with_any_character_mistyped_is_none():
    key = new_key("live")
    mistyped = [
        key[:place] + other + key[place + 1 :]
        for place in range(len(key))
        for other in (*ALPHABET[::7], "_", "-", " ")
        if other != key[place]
    ]

    assert not [text for text in mistyped if mode_of(text)]


def test_a_key_with_two_neighbours_swapped_is_none():
    key = new_key("test")
    swapped = [key[:at] + key[at + 1] + key[at] + key[at + 2 :] for at in range(len(key) - 1)]

    assert not [text for text in swapped if text != key and mode_of(text)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "ovk", "ovk_", "ovk_live", "ovk_live_", "ovk__", "_live_", "schlüssel\0", "x" * 10_000),
        f"ovk_live_{'a' * 49}",
        f"ovk_live_{'ä' * 49}",
        f"ovk_{'a' * 43}",
        f" {new_key('live')}",
        f"{new_key('live')}\n",
        new_key("live")[:-1],
        new_key("live") + "0",
        new_key("live").replace("live", "prod"),
        new_key("live").replace("live", "test"),
        new_key("live").upper(),
    ],
    ids=lambda _: "text",  # a new key is another one in each process, and a test must have one name in all
)
def test_what_is_no_key_is_none_whatever_it_is(text):
    assert mode_of(text) is None


def test_numbers_are_written_with_leading_zeros():
    assert base62(0, 3) == "000"
    assert base62(61, 3) == "00Z"
    assert base62(62**3 - 1, 3) == "ZZZ"
