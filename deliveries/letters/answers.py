"""What came back from a receiver, in the reader's language: the history says it in English, in sentences of our own.

Nothing is made a link of, and nothing is said of a URL's query, for it may be a token.
"""

import re
from collections.abc import Iterator

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters.reading import SCHEME, clean, said

LONGEST_SENTENCE = 1000
LONGEST_PART = 100
QUERY = re.compile(r"[?#][^\s;]*")
GAP = re.compile(r"%\((\w+)\)s")

# The more particular before the general: the first that fits is taken.
SENTENCES = (
    gettext_noop(
        "The receiver answered %(answer)s and points to %(place)s; redirects are not followed, so the subscription's "
        "URL must be the final one."
    ),
    gettext_noop(
        "The receiver answered %(answer)s; redirects are not followed, so the subscription's URL must be the final one."
    ),
    gettext_noop("The receiver answered 410 Gone: it wants no more notifications."),
    gettext_noop("The receiver answered %(answer)s."),
    gettext_noop("The attempt was not begun within %(seconds)s s."),
    gettext_noop("The receiver's name could not be looked up within %(seconds)s s."),
    gettext_noop("The receiver could not be connected to within %(seconds)s s."),
    gettext_noop("The receiver did not finish the TLS handshake within %(seconds)s s."),
    gettext_noop("The receiver did not begin to answer within %(seconds)s s."),
    gettext_noop("The receiver's answer was not complete within %(seconds)s s."),
    gettext_noop("The receiver's name could not be found; correct the URL or the name's DNS."),
    gettext_noop("The receiver refused the connection; nothing listens at that address and port."),
    gettext_noop("The receiver closed the connection without an answer."),
    gettext_noop("The receiver reset the connection."),
    gettext_noop("The receiver closed the connection in the middle of its answer."),
    gettext_noop("The receiver's answer has a header line that is too long, more than 64 KiB."),
    gettext_noop("The receiver's answer is not HTTP/1.1."),
    gettext_noop("The receiver's answer has a Content-Length that is not one whole number."),
    gettext_noop("The receiver's answer is not valid HTTP: %(fault)s."),
    gettext_noop("The receiver's certificate is not valid yet."),
    gettext_noop("The receiver's certificate has expired."),
    gettext_noop("The receiver's certificate is self-signed."),
    gettext_noop("The receiver's certificate comes from an authority that is not trusted."),
    gettext_noop(
        "The receiver's certificate comes from an authority that is not trusted, or lacks an intermediate certificate."
    ),
    gettext_noop("The receiver's certificate has been revoked."),
    gettext_noop("The receiver's certificate is for another host name."),
    gettext_noop("The receiver's certificate is for another address."),
    gettext_noop("The receiver's certificate can't be verified: %(fault)s."),
    gettext_noop("The receiver closed the connection during TLS."),
    gettext_noop("The receiver does not speak TLS at that port; correct the port, or set up https there."),
    gettext_noop("TLS with the receiver failed: %(fault)s."),
    gettext_noop("The connection to the receiver failed: %(fault)s."),
    gettext_noop(
        "The request could not be made from the subscription's URL and headers; correct and save them."
    ),
)


def forms() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Each sentence with what it looks like when it is filled in."""
    for sentence in SENTENCES:
        texts_and_gaps = GAP.split(sentence)
        yield (
            sentence,
            re.compile(
                "".join(
                    f"(?P<{part}>.+?)" if nth % 2 else re.escape(part)
                    for nth, part in enumerate(texts_and_gaps)
                )
            ),
        )


FORMS = tuple(forms())


def answer(error: str) -> str:
    """As it was said where it is none of these sentences."""
    told = clean(SCHEME.sub("", QUERY.sub("", error)), LONGEST_SENTENCE)
    for sentence, form in FORMS:
        if found := form.fullmatch(told):
            return _(sentence) % {gap: said(part, LONGEST_PART) for gap, part in found.groupdict().items()}
    return said(told)
