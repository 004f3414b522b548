"""Every path that the service answers."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView, TemplateView

from openvolt_events.api.health import healthz, readyz
from openvolt_events.cases import CasePage
from openvolt_events.contacts import ReadingPage, SummaryPage
from openvolt_events.mail_webhooks import mail_webhook
from openvolt_events.metrics import metrics

urlpatterns = [
    path("", RedirectView.as_view(url="/docs/")),
    path("v1/", include("openvolt_events.api.urls")),
    path("docs", RedirectView.as_view(url="/docs/")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("docs/", csrf_exempt(TemplateView.as_view(template_name="docs.html")), name="docs"),  # 405, not 403
    path("cases/<token>", CasePage.as_view(), name="case"),
    path("recipients/", include("openvolt_events.recipients")),
    path("contacts/summary/<token>", SummaryPage.as_view(), name="end-summary"),
    path("contacts/reading/<token>", ReadingPage.as_view(), name="contact-reading"),
    path("favicon.ico", RedirectView.as_view(url=static("favicon.svg"))),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("anymail/<slug:provider>/tracking/", mail_webhook, name="mail-webhook"),
]

handler400 = "openvolt_events.api.problems.bad_request"
handler404 = "openvolt_events.api.problems.not_found"
handler500 = "openvolt_events.api.problems.server_error"
