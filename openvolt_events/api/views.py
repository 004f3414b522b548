"""What all calls have in common: nothing that was sent is passed over in silence."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import QuerySet
from django_filters import FilterSet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from openvolt_events.api.authentication import application_of
from openvolt_events.api.pagination import NewestFirst
from openvolt_events.api.problems import InvalidInput, error_at


class StrictView(APIView):
    """Refuses query parameters that the call does not know."""

    query_parameters: Iterable[str] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        known = set(self.query_parameters)
        errors = [unknown(name, known) for name in request.query_params if name not in known]
        errors += [nul(name) for name, value in request.query_params.items() if "\0" in value]
        if errors:
            raise InvalidInput(errors)


def unknown(name: str, known: set[str]) -> dict[str, str]:
    mend = f"known are {', '.join(sorted(known))}" if known else "this call takes none"
    return error_at(f"/{name[:100]}", f"There is no query parameter {name[:100]!r}; {mend}.", "unknown")


def nul(name: str) -> dict[str, str]:
    return error_at(f"/{name[:100]}", "The value has a NUL character; leave it out.", "nul")


class StrictList(generics.ListAPIView, StrictView):
    """A list with filters (`filterset_class`), newest first."""

    pagination_class = NewestFirst
    filter_backends = (DjangoFilterBackend,)
    filterset_class: type[FilterSet] | None = None

    @property
    def query_parameters(self) -> Iterable[str]:  # type: ignore[override]
        if self.request.method not in ("GET", "HEAD"):
            return ()
        filters = self.filterset_class.base_filters if self.filterset_class else ()
        return (*NewestFirst.query_parameters, *filters)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().filter_queryset(queryset) if self.filterset_class else queryset


class OfApplication(generics.GenericAPIView):
    """Shows, of its `queryset`, the rows of the key's own application; to any other, they are not there."""

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().filter(application=application_of(self.request))


def checked_input(serializer: type[Serializer], request: Request, **options: Any) -> Mapping[str, Any]:
    """The body as the serializer understands it. Raises ValidationError."""
    reader = serializer(data=request.data, **options)
    reader.is_valid(raise_exception=True)
    found: Mapping[str, Any] = reader.validated_data
    return found
