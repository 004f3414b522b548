"""manage.py rotate_encryption: everything at rest goes over to the first of ENCRYPTION_KEYS."""

from collections.abc import Iterator
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F, TextField
from django.db.models.functions import Cast

from accounts.models import AuditEntry
from subscriptions import encryption
from subscriptions.encryption import decrypted, encrypted_fields, key_ring
from subscriptions.models import SigningSecret, Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db

OLD, NEW, GONE = (Fernet.generate_key().decode() for _ in range(3))
TOKEN = "Bearer of-the-receiver"


@pytest.fixture(autouse=True)
def keys(settings) -> Iterator[object]:
    """Sets ENCRYPTION_KEYS as a start of every process would."""

    def set_keys(*keys: str) -> None:
        settings.ENCRYPTION_KEYS = list(keys)
        key_ring.cache_clear()
        decrypted.cache_clear()

    yield set_keys
    key_ring.cache_clear()
    decrypted.cache_clear()


def webhooks(count: int) -> list[str]:
    """So many subscriptions with a header each; returns their signing secrets."""
    owner = factories.application()
    for _ in range(count):
        factories.webhook(owner, headers={"authorization": TOKEN})
    return secrets()


def secrets() -> list[str]:
    return [secret.secret for secret in SigningSecret.objects.order_by("id")]


def rotate() -> str:
    said = StringIO()
    call_command("rotate_encryption", stdout=said)
    return said.getvalue()


def stored() -> list[str]:
    """What a thief of the database has."""
    found = []
    for field in encrypted_fields():
        rows = field.model._base_manager.annotate(stored=Cast(F(field.name), TextField()))
        found += list(rows.order_by("pk").values_list("stored", flat=True))
    return found


def test_the_old_key_can_go_and_everything_is_still_read(keys):
    keys(OLD)
    before = webhooks(3)

    keys(NEW, OLD)
    said = rotate()

    keys(NEW)
    assert secrets() == before
    assert [one.headers for one in Subscription.objects.all()] == [{"authorization": TOKEN}] * 3
    assert "subscriptions.SigningSecret.secret: 3 encrypted again, 0 had the first key" in said
    assert "subscriptions.Subscription.encrypted_headers: 3 encrypted again" in said
    assert "Everything is encrypted with the first" in said


def test_it_goes_through_all_rows_whatever_the_batch(keys, monkeypatch):
    monkeypatch.setattr(encryption, "BATCH", 2)
    keys(OLD)
    before = webhooks(5)

    keys(NEW, OLD)
    rotate()

    keys(NEW)
    assert secrets() == before


def test_what_has_the_first_key_is_left_as_it_is(keys):
    keys(OLD)
    webhooks(2)
    keys(NEW, OLD)
    rotate()
    before = stored()

    said = rotate()

    assert stored() == before
    assert "SigningSecret.secret: 0 encrypted again, 2 had the first key" in said


def test_cut_short_it_goes_on_where_it_was(keys, monkeypatch):
    keys(OLD)
    before = webhooks(4)
    keys(NEW, OLD)
    monkeypatch.setattr(encryption, "BATCH", 1)
    with monkeypatch.context() as cut:
        once = iter([encryption.replace])
        cut.setattr(encryption, "replace", lambda *changes: next(once)(*changes))
        with pytest.raises(StopIteration):
            rotate()

    said = rotate()

    keys(NEW)
    assert secrets() == before
    assert "1 had the first key" in said


def test_a_value_whose_key_is_gone_is_counted_and_left(keys):
    keys(GONE)
    webhooks(1)
    keys(OLD, GONE)
    webhooks(1)
    keys(NEW, OLD)

    with pytest.raises(
        CommandError, match="2 values were encrypted with a key that ENCRYPTION_KEYS does not"
    ):
        rotate()

    keys(GONE, NEW)
    assert len(secrets()) == 2


def test_what_changes_meanwhile_is_not_overwritten(keys, monkeypatch):
    keys(OLD)
    webhooks(1)
    keys(NEW, OLD)
    real = encryption.replace

    def change_first(field, changes):
        SigningSecret.objects.update(secret="whsec_newer")
        return real(field, changes)

    monkeypatch.setattr(encryption, "replace", change_first)
    monkeypatch.setattr("openvolt_events.management.commands.rotate_encryption.BETWEEN_PASSES", 0)
    rotate()

    keys(NEW)
    assert secrets() == ["whsec_newer"]


@pytest.mark.django_db(transaction=True)
def test_it_waits_for_nobody_and_says_what_was_in_use(keys, monkeypatch):
    monkeypatch.setattr("openvolt_events.management.commands.rotate_encryption.BETWEEN_PASSES", 0)
    keys(OLD)
    webhooks(2)
    keys(NEW, OLD)
    other = connection.copy()
    try:
        with transaction.atomic(), other.cursor() as cursor:
            cursor.execute("BEGIN; SELECT id FROM subscriptions_signingsecret ORDER BY id LIMIT 1 FOR UPDATE")
            with pytest.raises(CommandError, match="1 values were in use the whole time"):
                rotate()
    finally:
        other.close()

    assert "1 encrypted again, 1 had the first key" in rotate()


def test_no_secret_is_printed_logged_or_put_into_the_audit_log(keys, caplog):
    caplog.set_level("DEBUG")
    keys(OLD)
    [secret] = webhooks(1)
    keys(NEW, OLD)

    written = rotate() + caplog.text + repr(list(AuditEntry.objects.values()))

    assert [entry.action for entry in AuditEntry.objects.all()] == ["encryption.rotated"] * 2
    assert AuditEntry.objects.latest("id").actor.startswith("manage.py rotate_encryption, ")
    for unsaid in (secret, TOKEN, OLD, NEW, *stored()):
        assert unsaid not in written
