"""/v1/applications, for the platform; /v1/application, for the application itself."""

from http import HTTPStatus

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.audit import picture, record
from accounts.models import ApiKey, Application, Scope
from openvolt_events.api.authentication import HasApplicationKey, HasPlatformKey, application_of
from openvolt_events.api.fields import BoundedList, EmailAddress, OneLine, StrictSerializer, Timestamp
from openvolt_events.api.views import StrictList, StrictView, checked_input

FIRST_KEY = "first key"
MOST_CONTACTS = 50


class ApplicationAnswer(serializers.ModelSerializer):
    contacts = serializers.ListField(child=serializers.EmailField())
    created_at = Timestamp()

    class Meta:
        model = Application
        fields: tuple[str, ...] = ("id", "name", "contacts", "created_at")
        read_only_fields = fields


class NewApplicationAnswer(ApplicationAnswer):
    api_key = serializers.CharField(help_text="Its first key, shown only now; it may read and write.")

    class Meta(ApplicationAnswer.Meta):
        fields: tuple[str, ...] = (*ApplicationAnswer.Meta.fields, "api_key")
        read_only_fields = fields


class NewApplication(StrictSerializer):
    name = OneLine(max_length=200)
    contacts = BoundedList(child=EmailAddress(), default=list, max_length=MOST_CONTACTS)


@extend_schema_view(get=extend_schema(operation_id="list_applications", summary="List all applications"))
class Applications(StrictList):
    permission_classes = (HasPlatformKey,)
    queryset = Application.objects.all()
    serializer_class = ApplicationAnswer

    @extend_schema(
        operation_id="create_application",
        summary="Create an application, with a first key",
        request=NewApplication,
        responses={201: NewApplicationAnswer},
    )
    def post(self, request: Request) -> Response:
        values = checked_input(NewApplication, request)
        with transaction.atomic():
            application = Application.objects.create(**values)
            row, key = ApiKey.objects.issue(
                kind=ApiKey.Kind.APPLICATION,
                application=application,
                name=FIRST_KEY,
                scopes=[Scope.READ, Scope.WRITE],
            )
            record("application.created", application, after=picture(application))
            record("api_key.created", row, after=picture(row))
        return Response(ApplicationAnswer(application).data | {"api_key": key}, HTTPStatus.CREATED)


class OwnApplication(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="get_application",
        summary="Get the key's own application",
        responses={200: ApplicationAnswer},
    )
    def get(self, request: Request) -> Response:
        return Response(ApplicationAnswer(application_of(request)).data)
