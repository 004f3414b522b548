"""What developers keep with a subscription comes back as they gave it: keys in their order, numbers as written."""

import pytest
from django.db import connection

from events.payloads import Payload
from subscriptions.models import Subscription

pytestmark = pytest.mark.django_db

KEPT = {
    "metadata": [
        '{"team":"blue","id":1,"a":{"zz":[1.50,1E+2,-0.0,12345678901234567890.123],"b":null},"ä":"\\"\\u0007"}',
        '{"b":1,"a":2}',
        "{}",
    ],
    "filter": [
        '{"/zz":["m-1",1.50,1E2],"/a":[null,true,"ä"],"/bb":[12345678901234567890]}',
        '{"/b":[1],"/a":[2]}',
        "{}",
    ],
}
CASES = [(field, given) for field, all_given in KEPT.items() for given in all_given]


def webhook(field, given):
    return (
        f'{{"channel":"webhook","url":"http://127.0.0.1:9/","event_types":["*"],"{field}":{given}}}'.encode()
    )


@pytest.mark.parametrize(("field", "given"), CASES)
def test_a_subscription_answers_what_it_was_made_with_as_it_was_written(api, field, given):
    made = api.post("/v1/subscriptions", webhook(field, given))
    assert made.status_code == 201, made.content

    single = api.get(f"/v1/subscriptions/{made.json()['id']}").content.decode()
    listed = api.get("/v1/subscriptions").content.decode()

    kept = f'"{field}":{given}'
    assert [kept in answer for answer in (made.content.decode(), single, listed)] == [True] * 3


@pytest.mark.parametrize("field", KEPT)
def test_a_change_of_nothing_but_the_order_of_the_keys_is_kept(api, field):
    [_, given, _] = KEPT[field]
    before = given.replace("b", "c").replace("a", "b").replace("c", "a")
    id = api.post("/v1/subscriptions", webhook(field, before)).json()["id"]

    changed = api.patch(f"/v1/subscriptions/{id}", f'{{"{field}":{given}}}'.encode())

    kept = f'"{field}":{given}'
    assert [
        kept in changed.content.decode(),
        kept in api.get(f"/v1/subscriptions/{id}").content.decode(),
    ] == [
        True,
        True,
    ]


def test_a_filter_is_equal_to_the_numbers_of_payloads_however_they_are_written(owner, api):
    id = api.post("/v1/subscriptions", webhook("filter", '{"/n":[1.50,1E+2,1e23]}')).json()["id"]
    subscription = Subscription.objects.get(pk=id)

    found = [subscription.wants("user.created", Payload(f'{{"n":{n}}}')) for n in ("1.5", "100", "2")]

    assert found == [True, True, False]


def test_what_was_kept_is_text_for_who_looks_into_the_database(api):
    api.post("/v1/subscriptions", webhook("metadata", '{"b":1,"a":"ä"}'))

    with connection.cursor() as cursor:
        cursor.execute("SELECT metadata, filter, metadata::json ->> 'a' FROM subscriptions_subscription")
        assert cursor.fetchall() == [('{"b":1,"a":"ä"}', "{}", "ä")]
