"""What the errors of SMTP and of email providers say about an attempt: one table for each, and our words for it."""

import re
import smtplib
from typing import Any

from anymail.exceptions import (  # type: ignore[import-untyped]
    AnymailAPIError,
    AnymailError,
    AnymailInvalidAddress,
    AnymailRecipientsRefused,
)

from deliveries.channels import RESPONSE_LIMIT, Report

LONGEST_REASON = 300
SENDER = "the sender's address"

# Enhanced status codes (RFC 3463, 7505) that say of an address that no email will ever arrive there: no such mailbox,
# no such domain, no address at all, moved away, a domain without email, a mailbox that was closed.
NO_SUCH_ADDRESS = re.compile(r"(?<![\d.])5\.(?:1\.(?:1|2|3|6|10)|2\.1)(?![\d.]*\d)", re.ASCII)
INACTIVE_AT_POSTMARK = re.compile(r'"ErrorCode":\s*406\b', re.ASCII)  # it bounced or complained there before

# Refusals of ourselves, RFC 4954: no sign-in, a weak one, a wrong one. They say nothing about the recipient.
OUR_FAULT_SMTP = {530, 534, 535, 538}

# The provider refuses this message or address. Other statuses are about the account, or pass.
PERMANENT_API = {400, 413, 422}


def refusal(error: Exception) -> Report:
    """What an attempt that ended with this error came to."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return smtp_refusal("the recipient's address", code, text)
    if isinstance(error, smtplib.SMTPSenderRefused):
        return smtp_refusal(SENDER, error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPDataError):
        return smtp_refusal("the message", error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPResponseException):
        return unusable(error)
    if isinstance(error, AnymailRecipientsRefused | AnymailInvalidAddress):
        return provider_refusal("The email provider refuses the recipient's address", error, permanent=True)
    if isinstance(error, AnymailAPIError):
        return api_refusal(error)
    return broken(error)


def smtp_refusal(what: str, code: int, text: bytes | str) -> Report:
    permanent = 500 <= code < 600 and code not in OUR_FAULT_SMTP
    return Report(
        succeeded=False,
        error=sentence(f"The mail server refused {what} with {code}", text),
        permanent=permanent,
        no_such_address=permanent and what != SENDER and says_no_such_address(plain(text)),
        status_code=code if code > 0 else None,
        response_body=plain(text),
    )


def says_no_such_address(text: str) -> bool:
    return bool(NO_SUCH_ADDRESS.search(text))


def unusable(error: Exception) -> Report:
    """The server refused before there was a message: greeting, EHLO, TLS or sign-in. Never about the recipient."""
    if not isinstance(error, smtplib.SMTPResponseException):
        return broken(error)
    signing_in = isinstance(error, smtplib.SMTPAuthenticationError)
    what = "the sign-in of this service" if signing_in else "the connection"
    return Report(
        succeeded=False,
        error=sentence(f"The mail server refused {what} with {error.smtp_code}", error.smtp_error),
        status_code=error.smtp_code if error.smtp_code > 0 else None,
        response_body=plain(error.smtp_error),
    )


def api_refusal(error: AnymailAPIError) -> Report:
    if error.response is None:
        return provider_refusal("The email provider can't be reached", error)
    return api_answer(error.response.status_code, error.response.text)


def api_answer(status: int, text: str) -> Report:
    """What a provider's HTTP answer means, whatever Anymail makes of it.

    Anymail raises for a 2xx whose body it can't read, though another try would be a second copy, and passes a
    refusal by Postmark whose words it doesn't know.
    """
    succeeded = 200 <= status < 300
    return Report(
        succeeded=succeeded,
        error="" if succeeded else sentence(f"The email provider answered {status}", text),
        permanent=status in PERMANENT_API,
        no_such_address=status in PERMANENT_API and bool(INACTIVE_AT_POSTMARK.search(text)),
        status_code=status,
        response_body=plain(text),
    )


def provider_refusal(what: str, error: AnymailError, *, permanent: bool = False) -> Report:
    response: Any = error.response
    return Report(
        succeeded=False,
        error=sentence(what, error.args[0] if response is None and error.args else ""),
        permanent=permanent,
        status_code=getattr(response, "status_code", None),
        response_body=plain(getattr(response, "text", "")),
    )


def broken(error: Exception) -> Report:
    """No answer: the connection failed, broke or took too long, or the email never got as far."""
    what = "The connection to the mail server failed" if isinstance(error, OSError) else "No email was sent"
    return Report(succeeded=False, error=sentence(what, str(error)))


def sentence(what: str, reason: bytes | str) -> str:
    words = " ".join(plain(reason).split())[:LONGEST_REASON].rstrip(".")
    return f"{what}: {words}." if words else f"{what}."


def plain(text: bytes | str) -> str:
    """Text from outside as PostgreSQL can keep it: decoded, without NUL, at most 16 KiB."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return str(text).replace("\0", "")[:RESPONSE_LIMIT]
