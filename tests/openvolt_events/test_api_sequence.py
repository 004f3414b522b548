import pytest
from django.utils import timezone

from deliveries.claiming import Limits, claim
from deliveries.lifecycle import cancel
from deliveries.models import Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.api import Api, pointers_of, problem_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def subscription(owner):
    return factories.webhook(owner)


def tell(owner, times=1):
    for _ in range(times):
        publish(owner, "user.created", factories.example("user.created"))
    claim("webhook", timezone.now(), Limits(limit=100, share=100))


def path(subscription, query=""):
    return f"/v1/subscriptions/{subscription.id}/sequence{query}"


def numbers(page):
    return [one["number"] for one in page["data"]]


def test_the_sequence_names_number_delivery_and_status(api, owner, subscription):
    tell(owner, 2)
    first, second = Delivery.objects.order_by("sequence")
    cancel(second, timezone.now())
    publish(owner, "user.created", factories.example("user.created"))  # not claimed: it has no number yet

    assert api.get(path(subscription)).json() == {
        "data": [
            {"number": 1, "delivery_id": str(first.id), "status": "pending"},
            {"number": 2, "delivery_id": str(second.id), "status": "cancelled"},
        ],
        "next": None,
        "previous": None,
    }


def test_a_delivery_says_its_number(api, owner, subscription):
    tell(owner)

    listed = api.get(f"/v1/deliveries?subscription_id={subscription.id}").json()["data"][0]

    assert listed["sequence"] == 1
    assert api.get(f"/v1/deliveries/{listed['id']}").json()["sequence"] == 1


def test_who_has_seen_a_number_asks_for_those_after_it(api, owner, subscription):
    tell(owner, 3)

    assert numbers(api.get(path(subscription, "?since=2")).json()) == [3]
    assert numbers(api.get(path(subscription, "?since=3")).json()) == []


def test_pages_lead_through_all_numbers_and_back(api, owner, subscription):
    tell(owner, 5)

    first = api.get(path(subscription, "?limit=2")).json()
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()

    assert [numbers(page) for page in (first, second, third)] == [[1, 2], [3, 4], [5]]
    assert (first["previous"], third["next"]) == (None, None)
    assert numbers(api.get(third["previous"]).json()) == [3, 4]
    assert numbers(api.get(second["previous"]).json()) == [1, 2]


def test_a_subscription_shows_its_own_numbers_only(api, owner, subscription):
    other = factories.webhook(owner, types=["meter.created"])
    tell(owner)

    assert numbers(api.get(path(subscription)).json()) == [1]
    assert numbers(api.get(path(other)).json()) == []


@pytest.mark.parametrize("since", ["-1", "1.5", "last", "٣", str(2**63), "9" * 5000])
def test_a_since_that_is_no_number_is_refused(api, subscription, since):
    assert pointers_of(api.get(path(subscription, f"?since={since}"))) == ["/since"]


def test_the_number_may_be_the_highest_there_is(api, subscription):
    assert api.get(path(subscription, f"?since={2**63 - 1}")).json()["data"] == []


def test_other_parameters_are_refused(api, subscription):
    assert pointers_of(api.get(path(subscription, "?cursor=x&limit=0"))) == ["/cursor"]
    assert pointers_of(api.get(path(subscription, "?limit=0"))) == ["/limit"]


def test_the_sequence_needs_a_key(subscription):
    assert problem_of(Api().get(path(subscription)), 401)
