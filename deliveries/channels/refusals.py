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

# Enhanced status codes (RFC 3463, 7505) that say of an address that no email will ever arrive there: no such mailbox,
# no such domain, no address at all, moved away, a domain without email, a mailbox that was closed.
NO_SUCH_ADDRESS = re.compile(r"(?<![\d.])5\.(?:1\.(?:1|2|3|6|10)|2\.1)(?![\d.]*\d)", re.ASCII)
ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.]*\d)", re.ASCII)
# The same from old servers, which have words alone: to RCPT, with a code that can mean it. A mailbox that is
# "unavailable" may be so for a while or to us alone; much else "does not exist": the sender's domain, a host's name.
UNAVAILABLE = {550, 551, 553}
NO_SUCH_IN_WORDS = re.compile(
    r"\b(no such|unknown) (user|recipient|mailbox)\b|\bno mailbox here by that name\b"
    r"|\b(user|recipient|mailbox)\b.{0,100}\b(unknown|not found|does(n't| not) exist)\b",
    re.IGNORECASE,
)
OF_THE_ADDRESS = re.compile(r"\b(user|recipient|mailbox|account|address)\b", re.IGNORECASE)
FULL = re.compile(r"\b(full|quota|storage|exceeded)\b", re.IGNORECASE)
OF_OTHERS = re.compile(
    r"\b(sender|from|domain|host|hostname|dns|helo|ehlo|client|ip|spam|policy|\w*list)\b", re.IGNORECASE
)
# We are not a client that the server takes emails for others from.
NO_RELAY = re.compile(
    r"\brelay(ing)? (access |is )?(denied|not (permitted|allowed)|prohibited)\b|\b(to relay|no relaying|rcpthosts)\b",
    re.IGNORECASE,
)
INACTIVE_AT_POSTMARK = re.compile(r'"ErrorCode":\s*406\b', re.ASCII)  # it bounced or complained there before

# Refusals of ourselves, RFC 4954: no sign-in, a weak one, a wrong one. They say nothing about the recipient.
OUR_FAULT_SMTP = {530, 534, 535, 538}
TOO_LARGE = 552  # RFC 1870: said to MAIL, which names the size

# The provider refuses this message or address. Other statuses are about the account, or pass.
PERMANENT_API = {400, 413, 422}


def refusal(error: Exception) -> Report:
    """What an attempt that ended with this error came to."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return recipient_refusal(code, plain(text))
    if isinstance(error, smtplib.SMTPSenderRefused) and error.smtp_code != TOO_LARGE:
        return not_accepted("The mail server refused the sender's address", error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError):
        return smtp_refusal("the message", error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPResponseException):
        return unusable(error)
    if isinstance(error, AnymailRecipientsRefused | AnymailInvalidAddress):
        return provider_refusal("The email provider refuses the recipient's address", error, permanent=True)
    if isinstance(error, AnymailAPIError):
        return api_refusal(error)
    return broken(error)


def recipient_refusal(code: int, text: str) -> Report:
    if NO_RELAY.search(text) and not says_no_such_address(text):
        return not_accepted(
            "The mail server is not set up to relay for this service, and answered", code, text
        )
    report = smtp_refusal("the recipient's address", code, text)
    report.no_such_address |= code in UNAVAILABLE and says_so_in_words(text)
    report.perhaps_no_such_address = (
        report.permanent and not report.no_such_address and may_say_so(text) and not FULL.search(text)
    )
    return report


def smtp_refusal(what: str, code: int, text: bytes | str) -> Report:
    permanent = 500 <= code < 600 and code not in OUR_FAULT_SMTP
    report = not_accepted(f"The mail server refused {what}", code, text)
    report.permanent = permanent
    report.no_such_address = permanent and says_no_such_address(report.response_body)
    return report


def not_accepted(what: str, code: int, text: bytes | str) -> Report:
    """Worth another try: as it stands, it says nothing about the recipient, and may be a fault of ours."""
    answer = str(code)
    if code < 0:  # smtplib's, which has cut off the beginning of what was said
        answer, text = "something that is no answer of SMTP", ""
    return Report(
        succeeded=False,
        error=sentence(f"{what} with {answer}", text),
        status_code=code if code > 0 else None,
        response_body=plain(text),
    )


def says_no_such_address(text: str) -> bool:
    return bool(NO_SUCH_ADDRESS.search(text))


def says_so_in_words(text: str) -> bool:
    return bool(NO_SUCH_IN_WORDS.search(text)) and may_say_so(text)


def may_say_so(text: str) -> bool:
    """Whether it is of the address, and no code says what else it is about."""
    return bool(OF_THE_ADDRESS.search(text)) and not (ENHANCED.search(text) or OF_OTHERS.search(text))


def unusable(error: Exception) -> Report:
    """The server refused before there was a message: greeting, EHLO, TLS or sign-in. Never about the recipient."""
    if not isinstance(error, smtplib.SMTPResponseException):
        return broken(error)
    signing_in = isinstance(error, smtplib.SMTPAuthenticationError)
    what = "the sign-in of this service" if signing_in else "the connection"
    return not_accepted(f"The mail server refused {what}", error.smtp_code, error.smtp_error)


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
