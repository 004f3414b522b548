"""Every path of the service, and one that answers 201 to a platform key, and nothing else."""

from http import HTTPStatus

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from openvolt_events.api.authentication import HasPlatformKey
from openvolt_events.urls import handler400, handler404, handler500
from openvolt_events.urls import urlpatterns as served

__all__ = ["handler400", "handler404", "handler500", "urlpatterns"]


class Nothing(APIView):
    permission_classes = (HasPlatformKey,)

    def post(self, request: Request) -> Response:
        return Response({}, HTTPStatus.CREATED)


urlpatterns = [*served, path("nothing", Nothing.as_view())]
