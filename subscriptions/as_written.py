"""JSON that developers gave and get back: keys in their order, numbers as written. `jsonb` keeps neither."""

import json
from typing import Any

from django.db import models

from events.payloads import number, with_numbers_as_written
from events.verbatim import dumps


class AsWrittenJSONField(models.JSONField):
    """A JSON value, as text in the database: what is in it can't be asked for there."""

    def get_internal_type(self) -> str:
        return "TextField"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> str:
        return dumps(with_numbers_as_written(value))

    def from_db_value(self, value: str | None, *_: object) -> Any:
        return None if value is None else json.loads(value, parse_float=number)
