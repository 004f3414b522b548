"""What holds for every page of the operators' dashboard."""

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import Model
from django.db.models.expressions import RawSQL
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from accounts.models import ApiKey, Application, User
from deliveries.models import Attempt, Case, Delivery, Notice, Replay
from deliveries.publishing import publish
from events.models import Event, IdempotencyKey
from subscriptions.models import Recipient, Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db

OURS = [
    Application,
    User,
    ApiKey,
    Event,
    IdempotencyKey,
    Subscription,
    Recipient,
    Delivery,
    Attempt,
    Replay,
    Notice,
    Case,
]
READ_ONLY = [Event, IdempotencyKey, Subscription, Recipient, Delivery, Attempt, Replay, Notice, Case]
MOST_QUERIES = 15


def populate(rows: int) -> None:
    """So many rows of everything, each in an application of its own."""
    now = timezone.now()
    start = Application.objects.count()
    for number in range(start, start + rows):
        owner = factories.application(f"Application {number}")
        User.objects.create_user(f"person{number}")
        factories.application_key(owner)
        factories.replay(factories.webhook(owner, failing_since=now - timedelta(hours=number)))
        factories.confirmed_emails(owner, [f"ann{number}@example.org"])
        publish(owner, "meter.created", factories.example("meter.created"), idempotency_key=f"key {number}/u")
        event = owner.events.get()
        Case.objects.create(id=event.id, kind="hosted_consent.revoked", application=owner, event=event)
        for delivery in owner.deliveries.all():
            Attempt.objects.create(
                delivery=delivery,
                number=1,
                trigger="scheduled",
                started_at=now,
                duration_ms=1,
                outcome="failed",
                error="The receiver hung up.",
            )


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_url(row: Model, view: str = "change") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{view}", args=[row.pk])


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_every_list_opens_with_as_many_queries_for_twenty_rows_as_for_one(admin_client: Client) -> None:
    populate(1)
    for_one = {model: queries(admin_client, list_url(model)) for model in OURS}

    populate(19)

    assert {model: queries(admin_client, list_url(model)) for model in OURS} == for_one
    assert max(for_one.values()) <= MOST_QUERIES


@pytest.mark.parametrize("model", OURS)
def test_every_page_of_a_row_and_its_history_open(admin_client: Client, model: type[Model]) -> None:
    populate(1)
    row = model._default_manager.first()
    assert row is not None

    assert queries(admin_client, page_url(row)) <= MOST_QUERIES
    assert admin_client.get(page_url(row, "history")).status_code == 200


def test_the_front_page_costs_no_more_with_many_failing_subscriptions(admin_client: Client) -> None:
    populate(12)
    for_twelve = queries(admin_client, "/admin/")

    populate(12)

    assert queries(admin_client, "/admin/") == for_twelve


@pytest.mark.parametrize("model", READ_ONLY)
def test_history_can_not_be_added_changed_or_deleted(admin_client: Client, model: type[Model]) -> None:
    populate(1)
    row = model._default_manager.first()
    assert row is not None
    before = model._default_manager.values().get(pk=row.pk)

    for url in (list_url(model) + "add/", page_url(row), page_url(row, "delete")):
        assert (
            admin_client.post(url, {"status": "succeeded", "type": "x", "email": "x@x.org"}).status_code
            == 403
        )
    listed = admin_client.get(list_url(model)).content.decode()
    admin_client.post(
        list_url(model), {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"}
    )

    assert model._default_manager.values().get(pk=row.pk) == before
    assert 'class="addlink"' not in listed.split('id="content"')[1]


def test_applications_people_and_keys_are_never_deleted(admin_client: Client) -> None:
    populate(1)

    for model in (Application, User, ApiKey):
        row = model._default_manager.first()
        assert row is not None
        assert admin_client.post(page_url(row, "delete"), {"post": "yes"}).status_code == 403


def test_no_page_lets_staff_run_functions_of_their_choice(admin_client: Client) -> None:
    assert not [model for model in admin.site._registry if model._meta.app_label == "django_q"]
    assert admin_client.get("/admin/django_q/schedule/add/").status_code == 404
    with pytest.raises(NoReverseMatch):
        reverse("admin:django_q_schedule_add")


@pytest.mark.parametrize("model", OURS)
def test_no_page_has_inline_scripts_or_styles(admin_client: Client, model: type[Model]) -> None:
    populate(1)
    row = model._default_manager.first()
    assert row is not None

    for url in (list_url(model), page_url(row), page_url(row, "history"), "/admin/"):
        assert inline_parts(admin_client.get(url).content.decode()) == []


def inline_parts(content: str) -> list[str]:
    return re.findall(r"<style|<script(?![^>]*\bsrc=)[^>]*>|<[^>]+\s(?:style|on[a-z]+)\s*=[^>]*>", content)


def test_hostile_names_are_shown_as_text(admin_client: Client) -> None:
    owner = factories.application("<script>alert(1)</script>")
    factories.webhook(owner, description="<img src=x onerror=alert(1)>", failing_since=timezone.now())
    publish(owner, "meter.created", factories.example("meter.created") | {"description": "</pre><script>"})

    pages = [list_url(model) for model in OURS] + ["/admin/", page_url(Event.objects.get())]
    contents = [admin_client.get(url).content.decode() for url in pages]

    assert not any("<script>" in content or "<img src=x" in content for content in contents)


@pytest.mark.parametrize("model", [Event, Delivery, Attempt, Subscription, Recipient, Application, ApiKey])
def test_a_row_is_found_by_its_id(admin_client: Client, model: type[Model]) -> None:
    populate(3)
    row = model._default_manager.last()
    assert row is not None

    content = admin_client.get(list_url(model), {"q": f" {row.pk} "}).content.decode()

    found = set(re.findall(rf"{model._meta.model_name}/([^/]+)/change/", content))
    assert found == {str(row.pk)}


@pytest.mark.parametrize(
    ("model", "term", "count"),
    [
        (Event, "application 2", 1),
        (Event, "meter.created", 3),
        (Delivery, "ann1@example", 1),
        (Delivery, "127.0.0.1:9", 3),
        (Delivery, "nothing like this", 0),
        (Subscription, "Application 1", 2),
        (Recipient, "ANN2@", 1),
        (Application, "ication 0", 1),
        (Application, "owner@green", 3),
        (ApiKey, "production", 3),
        (IdempotencyKey, "key 1/u", 1),
        (Notice, "ann0", 1),
    ],
)
def test_rows_are_found_by_words(admin_client: Client, model: type[Model], term: str, count: int) -> None:
    populate(3)

    content = admin_client.get(list_url(model), {"q": term}).content.decode()

    assert f"{count} result" in content


def test_a_search_stays_inside_the_list_that_a_link_narrowed_down(admin_client: Client) -> None:
    populate(2)
    owner = Application.objects.first()
    assert owner is not None

    narrowed = admin_client.get(
        list_url(Delivery), {"application__id__exact": str(owner.pk), "q": "127.0.0.1"}
    )

    assert "1 result" in narrowed.content.decode()


@pytest.mark.parametrize("value", ["not-an-id", "", "01a20ce3-8d37-7586-87b1-473219a23dfc"])
def test_a_link_to_a_row_that_is_not_there_does_no_harm(admin_client: Client, value: str) -> None:
    answer = admin_client.get(list_url(Delivery), {"event__id__exact": value}, follow=True)

    assert answer.status_code == 200


def test_a_long_list_is_counted_no_further_than_anybody_reads(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.admin_lists.LONGEST_LIST", 3)
    populate(4)

    assert "3+ events" in admin_client.get(list_url(Event)).content.decode()
    assert "4 applications" not in admin_client.get(list_url(Application)).content.decode()


def test_lists_can_be_narrowed_down_by_when_rows_were_created(admin_client: Client) -> None:
    populate(1)

    for period in ("hour", "day", "week"):
        assert "1 event" in admin_client.get(list_url(Event), {"created": period}).content.decode()
    assert admin_client.get(list_url(Event), {"created": "nonsense"}).status_code == 200


def test_a_list_without_rows_says_so_and_leads_back(admin_client: Client) -> None:
    assert "There is nothing here yet." in admin_client.get(list_url(Event)).content.decode()
    populate(1)

    content = admin_client.get(list_url(Event), {"q": "nothing like this"}).content.decode()

    assert "Nothing here fits." in content
    assert "Nothing here fits." not in admin_client.get(list_url(Event)).content.decode()


def test_a_subscription_says_since_when_it_fails_why_and_when_it_is_disabled(admin_client: Client) -> None:
    now = timezone.now()
    subscription = factories.webhook(
        factories.application(),
        failing_since=now - timedelta(days=4, hours=1),
        failure_count=77,
        last_failed_at=now - timedelta(minutes=3),
        last_error="The receiver answered 500 <b>.",
        disable_at=now + timedelta(hours=23),
    )

    for url in (page_url(subscription), list_url(Subscription)):
        content = admin_client.get(url).content.decode()
        assert f"{now - timedelta(days=4, hours=1):%d %b %Y %H:%M:%S}" in content
        assert f"{now + timedelta(hours=23):%d %b %Y %H:%M:%S}" in content
        assert "The receiver answered 500 &lt;b&gt;." in content
    page = admin_client.get(page_url(subscription)).content.decode()
    assert f"{now - timedelta(minutes=3):%d %b %Y %H:%M:%S}" in page
    assert ">77<" in page


def test_a_case_says_in_words_what_it_is_about(admin_client: Client) -> None:
    subscription = factories.webhook(factories.application())
    Case.objects.create(
        id=subscription.id, kind="gone", application=subscription.application, subscription=subscription
    )

    assert "webhook disabled by the receiver (410)" in admin_client.get(list_url(Case)).content.decode()


def test_failed_attempts_and_deliveries_are_found_by_when(admin_client: Client) -> None:
    populate(2)
    now = timezone.now()
    [failed, _] = Delivery.objects.filter(channel="webhook")
    Delivery.objects.filter(pk=failed.pk).update(status="failed", next_attempt_at=None, finished_at=now)
    tried = Attempt.objects.count()

    for period in ("hour", "day", "week"):
        for model, count in ((Delivery, "1 delivery"), (Attempt, f"{tried} attempts")):
            assert count in admin_client.get(list_url(model), {"failed": period}).content.decode()
    Delivery.objects.filter(pk=failed.pk).update(finished_at=now - timedelta(days=8))
    assert "0 deliveries" in admin_client.get(list_url(Delivery), {"failed": "week"}).content.decode()


@pytest.mark.parametrize(
    ("model", "narrowed", "bound"),
    [
        (Delivery, {"failed": "hour"}, "\"status\" = 'failed'"),
        (Delivery, {"next": "in_flight"}, '"next_attempt_at" <='),
        (Attempt, {"failed": "hour"}, '"id" >='),
    ],
)
def test_what_is_rare_is_looked_for_by_an_index(
    admin_client: Client, model: type[Model], narrowed: dict[str, str], bound: str
) -> None:
    with CaptureQueriesContext(connection) as captured:
        admin_client.get(list_url(model), narrowed)

    [counted] = [
        query["sql"]
        for query in captured
        if "COUNT(" in query["sql"] and model._meta.db_table in query["sql"]
    ]
    assert bound in counted


@pytest.mark.parametrize("model", [Delivery, Attempt])
def test_no_filter_is_offered_that_would_read_every_row(admin_client: Client, model: type[Model]) -> None:
    names = {str(one) for one in admin.site._registry[model].list_filter if isinstance(one, str)}

    assert names <= {"status", "channel"}


def test_editing_an_application_is_recorded(admin_client: Client) -> None:
    owner = factories.application()

    admin_client.post(page_url(owner), {"name": "Greener Homes", "contacts": "a@example.org,b@example.org"})

    owner.refresh_from_db()
    assert (owner.name, owner.contacts) == ("Greener Homes", ["a@example.org", "b@example.org"])
    assert LogEntry.objects.get().object_id == str(owner.pk)


def test_nobody_without_a_staff_account_gets_in(client: Client) -> None:
    client.force_login(User.objects.create_user("somebody"))

    assert client.get("/admin/").status_code == 302
    assert client.get(list_url(Delivery)).status_code == 302


def test_a_list_that_takes_the_database_too_long_is_given_up_in_words(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(1)
    monkeypatch.setattr("accounts.admin_pages.LONGEST_QUERY", timedelta(milliseconds=300))
    slow = Event.objects.annotate(wait=RawSQL("SELECT pg_sleep(3)::text", [])).exclude(wait=None)
    monkeypatch.setattr("events.admin.EventAdmin.get_queryset", lambda self, request: slow)

    answer = admin_client.get(list_url(Event))
    monkeypatch.undo()

    assert answer.status_code == 503
    assert "There are too many rows to look through." in answer.content.decode()
    assert admin_client.get(list_url(Delivery)).status_code == 200


@pytest.mark.parametrize("model", [Event, Delivery, Attempt, IdempotencyKey, Recipient, Subscription])
def test_the_database_stops_counting_where_the_list_does(admin_client: Client, model: type[Model]) -> None:
    with CaptureQueriesContext(connection) as captured:
        admin_client.get(list_url(model))

    table = model._meta.db_table
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"] and table in query["sql"]]
    assert len(counts) == 1
    assert "LIMIT 10001" in counts[0]
