"""Emails as files: one `.eml` an email in EMAIL_FILE_PATH, for laptops and demonstrations."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from deliveries.channels.mime import content


class EmailBackend(BaseEmailBackend):
    """Writes each email under a name that sorts by time. A file appears whole or not at all."""

    def __init__(self, *args: Any, file_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        path = file_path or getattr(settings, "EMAIL_FILE_PATH", None)
        if not path:
            raise ImproperlyConfigured("EMAIL_FILE_PATH is empty; set EMAIL_URL to file:DIRECTORY.")
        self.directory = Path(path)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message in email_messages:
            self.write(content(message))
        return len(email_messages)

    def write(self, content: bytes) -> None:
        """Under a hidden name first (mode 0600), then renamed: readers of `*.eml` never see a half."""
        handle, hidden = tempfile.mkstemp(prefix=".", suffix=".eml.part", dir=self.directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            unique = Path(hidden).name.split(".")[1]
            os.rename(hidden, self.directory / f"{time.time_ns():020d}-{unique}.eml")
        except OSError:
            os.unlink(hidden)
            raise
