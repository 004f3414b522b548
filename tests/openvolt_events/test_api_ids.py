"""An id is a UUID as RFC 9562 writes it, in capitals or not; wherever it is sent, the same is one, and nothing else."""

from urllib.parse import quote, urlencode

import pytest

from tests.openvolt_events.test_api_tenancy import BODIES, WITH_ID, furnished
from tests.support import factories
from tests.support.api import Api, path_of, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

FORMS = {
    "a URN": lambda id: f"urn:uuid:{id}",
    "braces": lambda id: f"{{{id}}}",
    "no hyphens": lambda id: id.hex,
    "hyphens elsewhere": lambda id: f"{id.hex[:4]}-{id.hex[4:]}",
    "one hyphen more": lambda id: f"{id}-",
    "a space before it": lambda id: f" {id}",
    "a line break after it": lambda id: f"{id}\n",
    "full-width digits": lambda id: str(id).replace("7", "\uff17"),
    "a digit less": lambda id: str(id)[:-1],
}
FILTERS = {"subscription_id": "subscriptions", "event_id": "events", "replay_id": "replays"}


@pytest.mark.parametrize(("method", "route"), WITH_ID)
def test_an_id_in_a_path_may_be_in_capitals_and_is_in_small_letters_in_the_answer(method, route):
    api, ids = furnished("Green Homes")
    shouted = str(ids[route.partition("/")[0]][0]).upper()

    response = api.call(method, path_of(route, shouted), BODIES.get((method, route), {}))

    assert response.status_code < 300, response.content
    assert shouted not in response.content.decode()


@pytest.mark.parametrize(("method", "route"), WITH_ID)
def test_a_path_with_an_id_in_another_form_is_404(method, route):
    api, ids = furnished("Green Homes")
    before = rows_stored()

    for written in FORMS.values():
        id = quote(written(ids[route.partition("/")[0]][0]))
        assert problem_of(api.call(method, path_of(route, id), BODIES.get((method, route), {})), 404)

    assert rows_stored() == before


@pytest.mark.parametrize("name", FILTERS)
def test_an_id_in_a_query_may_be_in_capitals_and_in_no_other_form(name):
    api, ids = furnished("Green Homes")
    id = ids[FILTERS[name]][0]

    def found(written):
        return api.get("/v1/deliveries?" + urlencode({name: written}))

    assert found(str(id).upper()).json()["data"] == found(id).json()["data"]
    for written in FORMS.values():
        assert pointers_of(found(written(id))) == [f"/{name}"]


def in_a_publish(id):
    return {"application_id": id, "type": "user.created", "payload": factories.example("user.created")}


def test_the_id_of_an_application_in_a_body_may_be_in_capitals_and_in_no_other_form():
    platform, owner = Api(factories.platform_key()), factories.application()
    before = rows_stored()

    for written in [*FORMS.values(), lambda id: id.int, lambda id: [str(id)], lambda id: None]:
        body = in_a_publish(written(owner.id))
        assert pointers_of(platform.post("/v1/events", body)) == ["/application_id"]
        assert pointers_of(platform.post("/v1/events/preview", body)) == ["/application_id"]
        assert pointers_of(platform.post("/v1/events/batch", {"events": [body]})) == [
            "/events/0/application_id"
        ]

    assert rows_stored() == before
    published = platform.post("/v1/events", in_a_publish(str(owner.id).upper()))
    assert published.json()["application_id"] == str(owner.id)


def test_the_ids_of_subscriptions_in_a_body_may_be_in_capitals_and_in_no_other_form():
    api, ids = furnished("Green Homes")
    path, id = f"/v1/events/{ids['events'][0]}/replay", ids["subscriptions"][0]

    for written in [*FORMS.values(), lambda id: id.int]:
        assert pointers_of(api.post(path, {"subscription_ids": [written(id)]})) == ["/subscription_ids/0"]

    [made] = api.post(path, {"subscription_ids": [str(id).upper()]}).json()["data"]
    assert made["subscription_id"] == str(id)
