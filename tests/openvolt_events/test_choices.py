"""A column that holds one of a few words holds no other, whoever writes it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import IntegrityError, connection, transaction

from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db

OURS = ("accounts", "subscriptions", "events", "deliveries")


def columns_of_choices() -> Iterator[tuple[str, str, list[str]]]:
    """Table, column, and the words."""
    for model in (model for app in OURS for model in apps.get_app_config(app).get_models()):
        for field in model._meta.concrete_fields:
            words: Any = field.base_field if isinstance(field, ArrayField) else field
            if words.choices:
                yield model._meta.db_table, str(field.column), [value for value, _ in words.choices]


COLUMNS = [*columns_of_choices()]


@pytest.mark.parametrize(("table", "column", "words"), COLUMNS, ids=[f"{one[0]}.{one[1]}" for one in COLUMNS])
def test_the_database_knows_the_words_of_each_choice(table, column, words):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'",
            [table],
        )
        rules = [rule for (rule,) in cursor.fetchall()]

    assert [rule for rule in rules if column in rule and all(f"'{word}'" in rule for word in words)]


@pytest.mark.parametrize("wrong", [{"frequency": "weekly"}, {"status": "asleep"}, {"frequency": ""}])
def test_another_word_is_refused(wrong):
    factories.emails(factories.application())

    with pytest.raises(IntegrityError), transaction.atomic():
        Recipient.objects.update(**wrong)
