"""The links in emails: signed, so that whoever holds one may do what it is for, to one recipient, and nothing else."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, Signer, TimestampSigner

CONFIRM_WITHIN = timedelta(days=30)


class BrokenLink(Exception):
    """The token was cut, changed, or made for something else."""


class ExpiredLink(Exception):
    """The token was good once."""


def confirm_signer() -> TimestampSigner:
    return TimestampSigner(salt="recipients.confirm", sep=".")


def unsubscribe_signer() -> Signer:
    return Signer(salt="recipients.unsubscribe", sep=".")


def confirm_link(recipient_id: UUID) -> str:
    """Where the recipient confirms the address, within 30 days from now."""
    return link("confirm", confirm_signer().sign(recipient_id.hex))


def unsubscribe_link(recipient_id: UUID) -> str:
    """Where the recipient ends the emails. It works for ever: so do the emails in which it stands."""
    return link("unsubscribe", unsubscribe_signer().sign(recipient_id.hex))


def link(purpose: str, token: str) -> str:
    return f"{settings.PUBLIC_URL}/recipients/{purpose}/{token}"


def recipient_to_confirm(token: str) -> UUID:
    """Whom the token of a confirm link is for. Raises BrokenLink or ExpiredLink."""
    try:
        return UUID(hex=confirm_signer().unsign(token, max_age=CONFIRM_WITHIN))
    except SignatureExpired:
        raise ExpiredLink from None
    except (BadSignature, ValueError):
        raise BrokenLink from None


def recipient_to_unsubscribe(token: str) -> UUID:
    """Whom the token of an unsubscribe link is for. Raises BrokenLink."""
    try:
        return UUID(hex=unsubscribe_signer().unsign(token))
    except (BadSignature, ValueError):
        raise BrokenLink from None
