"""What all calls have in common: nothing that was sent is passed over in silence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import QuerySet
from django_filters import FilterSet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.openapi import AutoSchema
from rest_framework import generics
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from events.pointers import escaped
from openvolt_events.api.authentication import application_of
from openvolt_events.api.pagination import NewestFirst
from openvolt_events.api.problems import InvalidInput, LengthRequired, error_at


class NamingTheKey(AutoSchema):
    """Says in each call's description which key it needs."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            wanted = [getattr(permission, "wanted", None) for permission in self.view.get_permissions()]
            needed = [f"Needs {key}." for key in wanted if key]
            operation["description"] = " ".join([operation.get("description", ""), *needed]).strip()
        return operation


class StrictView(APIView):
    """Refuses query parameters that the call does not know, or that can be read in two ways."""

    http_method_names = [name for name in APIView.http_method_names if name != "options"]
    schema = NamingTheKey()
    query_parameters: Iterable[str] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        if "transfer-encoding" in request.headers:
            # Django reads no further than Content-Length: without one the body would seem to be empty.
            raise LengthRequired("The body came in chunks, without its length; send Content-Length.")
        known = set(self.query_parameters)
        sent = [(name, fault(name, values, known)) for name, values in request.query_params.lists()]
        if errors := [error_at(f"/{escaped(name[:100])}", *found) for name, found in sent if found]:
            raise InvalidInput(errors)


def fault(name: str, values: Sequence[str], known: set[str]) -> tuple[str, str] | None:
    """What is wrong with a query parameter, and the word for it; None if nothing is."""
    if name not in known:
        mend = f"known are {', '.join(sorted(known))}" if known else "this call takes none"
        return f"There is no query parameter {name[:100]!r}; {mend}.", "unknown"
    if len(values) > 1:
        return f"The parameter comes {len(values)} times; send it once.", "repeated"
    if "\0" in values[0]:
        return "The value has a NUL character; leave it out.", "nul"
    if not values[0]:
        return "The value is empty; leave the parameter out.", "empty"
    return None


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
