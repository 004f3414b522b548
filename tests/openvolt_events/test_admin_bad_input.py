"""What the operators' pages answer to an address or a form that no page of theirs has made."""

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client, RequestFactory

from accounts.admin_pages import lookups_of
from accounts.models import User
from tests.openvolt_events.test_admin_lookups import LISTS, list_url

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss")


@pytest.fixture
def client(boss: User) -> Client:
    client = Client()
    client.force_login(boss)
    return client


@pytest.mark.parametrize("model", LISTS)
def test_a_nul_in_an_address_is_refused(client, model):
    names = {name for one in admin.site.get_model_admin(model).list_filter for name in lookups_of(one)}
    addresses = [f"{list_url(model)}?{name}=%00" for name in sorted(names | {"q", "o", "p"})]

    for address in [*addresses, f"{list_url(model)}?%00=1", f"{list_url(model)}%00/change/"]:
        assert client.get(address).status_code == 400, address


def test_a_nul_in_what_is_completed_is_refused(client):
    asked = (
        "/admin/autocomplete/?app_label=subscriptions&model_name=subscription&field_name=application&term=%00"
    )

    assert client.get(asked).status_code == 400


@pytest.mark.parametrize("chosen", ["x", "\0", "-1", "9" * 40, ""])
@pytest.mark.parametrize("model", LISTS)
def test_an_action_on_what_is_no_id_changes_nothing_and_says_so(client, boss, model: type[Model], chosen):
    request = RequestFactory().get("/")
    request.user = boss

    for action in admin.site.get_model_admin(model).get_actions(request):
        form = {"action": action, "_selected_action": chosen, "confirmed": "1"}
        answer = client.post(list_url(model), form)

        assert answer.status_code == 302
        *_, message = get_messages(answer.wsgi_request)
        assert message.level_tag in ("error", "warning")
