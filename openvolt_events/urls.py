"""Every path that the service answers."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView, TemplateView

from openvolt_events.api.health import healthz, readyz

urlpatterns = [
    path("", RedirectView.as_view(url="/docs/")),
    path("v1/", include("openvolt_events.api.urls")),
    path("docs", RedirectView.as_view(url="/docs/")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("docs/", TemplateView.as_view(template_name="docs.html"), name="docs"),
    path("recipients/", include("openvolt_events.recipients")),
    path("favicon.ico", RedirectView.as_view(url=static("favicon.svg"))),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("readyz", readyz),
]

handler400 = "openvolt_events.api.problems.bad_request"
handler404 = "openvolt_events.api.problems.not_found"
handler500 = "openvolt_events.api.problems.server_error"
