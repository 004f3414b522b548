"""What `manage.py check --deploy` has to say of our settings beside Django's own warnings."""

from typing import Any

from django.conf import settings
from django.core.checks import Tags, Warning, register


@register(Tags.security, deploy=True)
def any_host_is_answered(app_configs: Any, **options: Any) -> list[Warning]:
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS has *: a request may name any host, and pages take it for their own.",
            hint="Name the hosts that the service answers to, like events.example.com.",
            id="openvolt.W001",
        )
    ]
