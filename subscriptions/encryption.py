"""What must not be read from a copy of the database: signing secrets and custom headers."""

from functools import cache, lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


@cache
def key_ring() -> MultiFernet:
    """ENCRYPTION_KEYS: the first encrypts, all decrypt, so that a key can be replaced without a pause."""
    return MultiFernet([Fernet(key) for key in settings.ENCRYPTION_KEYS])


@lru_cache(maxsize=4096)
def decrypted(value: str) -> str:
    """Remembered: a busy worker needs the same few secrets again and again. Raises InvalidToken."""
    return key_ring().decrypt(value).decode()


class EncryptedTextField(models.TextField):
    """Text that is encrypted on its way into the database and decrypted on its way out."""

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return text if text is None else key_ring().encrypt(text.encode()).decode()

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        if value is None:
            return None
        try:
            return decrypted(value)
        except InvalidToken:
            raise ValueError(
                f"{self.model._meta.label}.{self.name} was encrypted with a key that ENCRYPTION_KEYS no longer has; "
                "add that key again, after the first."
            ) from None
