"""What went wrong with a connection, in a plain sentence for the owner of the subscription.

Sentences are made here, never taken from an exception's text where that may quote a header: values are secret.
"""

import http.client
import socket
import ssl

from urllib3.exceptions import IncompleteRead, InvalidHeader

from deliveries.channels.connections import Exchange, Phase
from subscriptions.addresses import AddressRefused
from subscriptions.custom_headers import HeaderRefused

TOO_LATE = {
    Phase.START: "The attempt was not begun within {patience}.",
    Phase.DNS: "The receiver's name could not be looked up within {patience}.",
    Phase.CONNECT: "The receiver could not be connected to within {patience}.",
    Phase.TLS: "The receiver did not finish the TLS handshake within {patience}.",
    Phase.FIRST_BYTE: "The receiver did not begin to answer within {patience}.",
    Phase.ANSWER: "The receiver's answer was not complete within {patience}.",
}

# OpenSSL's X509_V_ERR_… codes
CERTIFICATE_FAULTS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "comes from an authority that is not trusted",
    20: "comes from an authority that is not trusted, or lacks an intermediate certificate",
    21: "comes from an authority that is not trusted, or lacks an intermediate certificate",
    23: "has been revoked",
    62: "is for another host name",
    64: "is for another address",
}
NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}

# The first kind that fits says what happened.
KINDS: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
    (socket.gaierror, "The receiver's name could not be found; correct the URL or the name's DNS."),
    (
        ConnectionRefusedError,
        "The receiver refused the connection; nothing listens at that address and port.",
    ),
    (http.client.RemoteDisconnected, "The receiver closed the connection without an answer."),
    (ConnectionError, "The receiver reset the connection."),
    (
        (http.client.IncompleteRead, IncompleteRead),
        "The receiver closed the connection in the middle of its answer.",
    ),
    (http.client.LineTooLong, "The receiver's answer has a header line that is too long, more than 64 KiB."),
    ((http.client.BadStatusLine, http.client.UnknownProtocol), "The receiver's answer is not HTTP/1.1."),
    (InvalidHeader, "The receiver's answer has a Content-Length that is not one whole number."),
]


def explain(failure: Exception, exchange: Exchange) -> str:
    """The sentence for whatever was raised on the way to an answer."""
    cause = root(failure)
    if exchange.expired or isinstance(cause, TimeoutError):
        return TOO_LATE[exchange.phase].format(patience=f"{exchange.patience.total_seconds():g} s")
    if isinstance(cause, AddressRefused | HeaderRefused):
        return str(cause)
    if isinstance(cause, ssl.SSLError):
        return explain_tls(cause)
    for kind, sentence in KINDS:
        if isinstance(cause, kind):
            return sentence
    if isinstance(cause, http.client.HTTPException):
        return f"The receiver's answer is not valid HTTP: {cause}."
    if isinstance(cause, OSError) and cause.strerror:
        return f"The connection to the receiver failed: {cause.strerror}."
    return "The request could not be made from the subscription's URL and headers; correct and save them."


def explain_tls(cause: ssl.SSLError) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = CERTIFICATE_FAULTS.get(cause.verify_code, f"can't be verified: {cause.verify_message}")
        return f"The receiver's certificate {fault}."
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "The receiver closed the connection during TLS."
    if cause.reason in NOT_TLS:
        return "The receiver does not speak TLS at that port; correct the port, or set up https there."
    return f"TLS with the receiver failed: {(cause.reason or 'no reason given').lower().replace('_', ' ')}."


def is_stale(failure: Exception, exchange: Exchange) -> bool:
    """Whether a connection that was kept turned out to have been closed, before anything of an answer came."""
    closed = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    return (
        exchange.reused
        and not exchange.expired
        and exchange.phase is Phase.FIRST_BYTE
        and isinstance(root(failure), closed)
    )


def root(failure: BaseException) -> BaseException:
    """The exception that requests and urllib3 have wrapped, as an argument or as a cause."""
    for inner in (*failure.args, failure.__cause__):
        if isinstance(inner, BaseException):
            return root(inner)
    return failure
