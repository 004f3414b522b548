"""What an id is, in a path, a query or a body: a UUID as RFC 9562 writes it, in capitals or not, and nothing else."""

import re
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.urls.converters import UUIDConverter
from django_filters.rest_framework import UUIDFilter
from rest_framework import serializers

FORM = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
WRITTEN = re.compile(FORM)
REFUSED = "This is no UUID; send one like 019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4."


class IdInPath(UUIDConverter):
    regex = FORM


class Id(serializers.UUIDField):
    """An id in a body."""

    default_error_messages = {"invalid": REFUSED}

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or not WRITTEN.fullmatch(data):
            self.fail("invalid")
        return UUID(data)


class IdInQuery(forms.UUIDField):
    default_error_messages = {"invalid": REFUSED}

    def to_python(self, value: Any) -> Any:
        if value and not WRITTEN.fullmatch(value):
            raise ValidationError(self.error_messages["invalid"], "invalid")
        return super().to_python(value)


class IdFilter(UUIDFilter):
    field_class = IdInQuery
