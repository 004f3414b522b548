"""Whose turn it is: how many requests a key, and an address that has none, may make in ten seconds.

A valid key is never refused for what others do at the same address: its 256 bits can't be guessed, and what is guarded
against is the load of trying.
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus

from django.conf import settings
from rest_framework import exceptions
from rest_framework.request import Request

from accounts.models import ApiKey
from accounts.throttling import WINDOW, Standing, count_address, standing
from openvolt_events.callers import client_address, neighbourhood

SECONDS = int(WINDOW.total_seconds())


class TooManyRequests(exceptions.APIException):
    status_code = HTTPStatus.TOO_MANY_REQUESTS
    default_code = "too-many-requests"

    def __init__(self, detail: str, wait: int) -> None:
        super().__init__(detail)
        self.wait = wait


def count_key(request: Request, row: ApiKey, requests: int, now: datetime) -> None:
    """Note where the key stands, whose requests its look-up has counted. Raises TooManyRequests."""
    platform = row.kind == ApiKey.Kind.PLATFORM
    limit = "RATE_LIMIT_PLATFORM" if platform else "RATE_LIMIT_APPLICATION"
    refuse_if_over(request, standing("key", getattr(settings, limit), requests, now), "This key", limit, now)


def count_stranger(request: Request, now: datetime) -> None:
    """Count a request without a valid key, by its address. Raises TooManyRequests."""
    address = neighbourhood(client_address(request))
    found = standing("address", settings.RATE_LIMIT_ADDRESS, count_address(address, now), now)
    refuse_if_over(request, found, f"{address}, without a valid key,", "RATE_LIMIT_ADDRESS", now)


def refuse_if_over(request: Request, found: Standing, who: str, limit: str, now: datetime) -> None:
    request.standing = found  # type: ignore[attr-defined]
    if found.is_over:
        wait = found.wait(now)
        raise TooManyRequests(
            f"{who} sent more than {found.quota} requests in {SECONDS} seconds ({limit}). Try again in {wait} s.",
            wait,
        )


def headers_of(request: Request, now: datetime) -> Mapping[str, str]:
    """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), if the request was counted."""
    found: Standing | None = getattr(request, "standing", None)
    if found is None:
        return {}
    return {
        "RateLimit-Policy": f'"{found.policy}";q={found.quota};w={SECONDS}',
        "RateLimit": f'"{found.policy}";r={found.remaining};t={found.wait(now)}',
    }
