"""What all pages have in common that links in emails lead to.

The link carries a signed token and needs no account. Opening a page changes nothing (mail servers open links to look
for malware); its button does.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

PRIVATE = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # the address of the page is the key to it
    "x-robots-tag": "noindex, nofollow",
}


# No CSRF token: the signed token in the address is the authority, no cookie is. Mail programs that unsubscribe
# with one click (RFC 8058) have no cookies, and under no-referrer browsers send no origin that could be checked.
@method_decorator(csrf_exempt, name="dispatch")
class TokenPage(View):
    """Shows its `page`; what is posted to it is a `change`. Both are for the one whom the token names."""

    page: Callable[..., HttpResponse]
    change: Callable[..., HttpResponse]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        for header, value in PRIVATE.items():
            response.headers[header] = value
        return response

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.answer(request, token, self.page)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        return self.answer(request, token, self.change)

    def answer(self, request: HttpRequest, token: str, act: Callable[..., HttpResponse]) -> HttpResponse:
        """What `act` does for whom the token names, in their language; otherwise what is wrong with the link."""
        raise NotImplementedError
