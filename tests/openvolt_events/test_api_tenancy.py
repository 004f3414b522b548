"""Nothing crosses from one application to another. The routes are walked, so that a new one is covered at once."""

import pytest
from django.apps import apps
from django.core import serializers

from accounts.models import ApiKey, Application
from deliveries.models import Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.api import FLOORS, Api, calls, path_of, problem_of

pytestmark = pytest.mark.django_db

WITH_ID = [(method, route) for method, route in calls() if "<id:" in route]
LISTS = [
    route for method, route in calls() if method == "GET" and "<" not in route and route != "openapi.json"
]
BODIES = {
    ("PATCH", "subscriptions/<id:id>"): {"description": "mine now"},
    ("POST", "subscriptions/<id:id>/rotate-secret"): {"overlap_seconds": 0},
    ("POST", "subscriptions/<id:id>/test"): {"type": "user.created"},
    ("POST", "subscriptions/<id:id>/replays"): {"since": "2026-10-25T00:00:00Z", "only": "all"},
    ("POST", "api-keys/<id:id>/rotate"): {"overlap_seconds": 0},
}


def furnished(name):
    """An application with some of everything, and the ids of all of it by the first step of their path."""
    owner = factories.application(name)
    subscriptions = [factories.webhook(owner), factories.confirmed_emails(owner)]
    event = publish(owner, "user.created", factories.example("user.created"))
    key = factories.application_key(owner)
    return Api(key), {
        "applications": [owner.id],
        "events": [event.id],
        "subscriptions": [one.id for one in subscriptions],
        "recipients": [one.recipients.get().id for one in subscriptions[1:]],
        "replays": [factories.replay(one).id for one in subscriptions],
        "deliveries": list(Delivery.objects.filter(application=owner).values_list("id", flat=True)),
        "api-keys": list(ApiKey.objects.filter(application=owner).values_list("id", flat=True)),
    }


def everything():
    """Every row that there is, but for when a key was used last."""
    ApiKey.objects.update(last_used_at=None)
    models = [model for floor in FLOORS for model in apps.get_app_config(floor).get_models()]
    return {
        model.__name__: serializers.serialize("json", model._default_manager.order_by("pk"))
        for model in models
    }


@pytest.mark.parametrize(("method", "route"), WITH_ID)
def test_the_key_of_another_application_gets_404_for_every_id_and_changes_nothing(method, route):
    _, ids = furnished("Green Homes")
    stranger, _ = furnished("Another")
    before = everything()

    for id in [id for some in ids.values() for id in some]:
        response = stranger.call(method, path_of(route, id), BODIES.get((method, route), {}))

        assert problem_of(response, 404)

    assert everything() == before


@pytest.mark.parametrize(("method", "route"), WITH_ID)
def test_the_applications_own_key_finds_the_same_ids(method, route):
    api, ids = furnished("Green Homes")

    response = api.call(
        method, path_of(route, ids[route.partition("/")[0]][0]), BODIES.get((method, route), {})
    )

    assert response.status_code < 300


@pytest.mark.parametrize("route", LISTS)
def test_no_list_of_an_application_shows_what_is_anothers(route):
    _, ids = furnished("Green Homes")
    stranger, _ = furnished("Another")

    response = stranger.get(f"/v1/{route}")

    if route == "applications":
        assert problem_of(response, 403)
        return
    assert response.status_code == 200
    for id in [id for some in ids.values() for id in some]:
        assert str(id) not in response.content.decode()


@pytest.mark.parametrize(
    "query", ["events?type=user.created", "deliveries?subscription_id=", "deliveries?event_id="]
)
def test_no_filter_reaches_what_is_anothers(query):
    _, ids = furnished("Green Homes")
    stranger, own = furnished("Another")
    kind = "subscriptions" if "subscription_id" in query else "events"
    id = str(ids[kind][0]) if query.endswith("=") else ""

    found = stranger.get(f"/v1/{query}{id}").json()["data"]

    assert [one["id"] for one in found] == ([] if id else [str(own["events"][0])])


def test_a_page_of_another_application_is_no_way_in():
    api, ids = furnished("Green Homes")
    stranger, own = furnished("Another")
    owner = Application.objects.get(id=ids["applications"][0])
    publish(owner, "user.created", factories.example("user.created"))
    url = api.get("/v1/events?limit=1").json()["next"]

    found = [one["id"] for one in stranger.get(url).json()["data"]]

    assert found == [str(id) for id in own["events"]]
