"""Guesses of passwords: five of one name from one address end there for a while (django-axes), fifty of any names, too.

Locked out is a place, never a name everywhere: nobody keeps the staff from signing in elsewhere (decision 13).
"""

from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest

from openvolt_events.actors import known_address
from openvolt_events.callers import neighbourhood, parsed

MOST_FAILURES = 50  # from an address: each costs the hashing of a password


class AddressesToo(AxesDatabaseHandler):
    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """What is compared with AXES_FAILURE_LIMIT."""
        if is_too_much(request):
            return int(settings.AXES_FAILURE_LIMIT)
        return int(super().get_failures(request, credentials))


def is_too_much(request: HttpRequest) -> bool:
    address = origin(request)
    if address is None or is_of_an_unknown_proxy(request, address):
        return False
    recent = AccessAttempt.objects.filter(
        ip_address=address, attempt_time__gte=get_cool_off_threshold(request)
    )
    failures: int | None = recent.aggregate(all=Sum("failures_since_start"))["all"]
    return (failures or 0) >= MOST_FAILURES


def origin(request: HttpRequest) -> str | None:
    """The address that failures count for; of a network of IPv6 that one customer has, the first."""
    address = known_address(request)
    return address and neighbourhood(address).partition("/")[0]


def is_of_an_unknown_proxy(request: HttpRequest, address: str) -> bool:
    """Whether TRUSTED_PROXIES lacks whoever passed this on: the address is then that of everybody."""
    found = parsed(address)
    named = "x-forwarded-for" in request.headers and not settings.TRUSTED_PROXIES
    return named and found is not None and found.is_private
