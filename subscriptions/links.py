"""The links in emails: signed, so that whoever holds one may do what it is for, to one recipient, and nothing else."""

from datetime import timedelta
from uuid import UUID, uuid5

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, Signer, TimestampSigner

CONFIRM_WITHIN = timedelta(days=30)
HANDLE_WITHIN = timedelta(days=90)


class BrokenLink(Exception):
    """The token was cut, changed, or made for something else."""


class ExpiredLink(Exception):
    """The token was good once, for the one with this id."""

    def __init__(self, person_id: UUID) -> None:
        super().__init__(person_id)
        self.person_id = person_id


def confirm_signer() -> TimestampSigner:
    return TimestampSigner(salt="recipients.confirm", sep=".")


def unsubscribe_signer() -> Signer:
    return Signer(salt="recipients.unsubscribe", sep=".")


def preferences_signer() -> Signer:
    return Signer(salt="recipients.preferences", sep=".")


def case_signer() -> TimestampSigner:
    return TimestampSigner(salt="cases", sep=".")


def confirm_link(recipient_id: UUID) -> str:
    """Where the recipient confirms the address, within 30 days from now."""
    return link("confirm", confirm_signer().sign(recipient_id.hex))


def unsubscribe_link(recipient_id: UUID) -> str:
    """Where the recipient ends the emails. It works for ever: so do the emails in which it stands."""
    return link("unsubscribe", unsubscribe_signer().sign(recipient_id.hex))


def preferences_link(recipient_id: UUID) -> str:
    """Where the recipient chooses what to get, and when. It works for ever: it can do less than unsubscribe can."""
    return link("preferences", preferences_signer().sign(recipient_id.hex))


def case_link(case_id: UUID, person_id: UUID) -> str:
    """Where this person says that they handle it, within 90 days from now."""
    return f"{settings.PUBLIC_URL}/cases/{case_signer().sign(case_id.hex + person_id.hex)}"


def contact_id(case_id: UUID, email: str) -> UUID:
    """What a link to a case names a contact of the application by, who is no recipient."""
    return uuid5(case_id, email.lower())


def contact_signer(purpose: str) -> Signer:
    return Signer(salt=f"contacts.{purpose}", sep=".")


def summary_link(application_id: UUID, email: str) -> str:
    """Where a contact of the application ends the weekly summary. It works for ever, as unsubscribing does."""
    return contact_link("summary", application_id, email)


def reading_link(application_id: UUID, email: str) -> str:
    """Where a contact of the application chooses the language and the time zone of emails. It works for ever, too."""
    return contact_link("reading", application_id, email)


def contact_link(purpose: str, application_id: UUID, email: str) -> str:
    token = contact_signer(purpose).sign(application_id.hex + contact_id(application_id, email).hex)
    return f"{settings.PUBLIC_URL}/contacts/{purpose}/{token}"


def application_and_contact(purpose: str, token: str) -> tuple[UUID, UUID]:
    """Of which application, and which of its contacts, a link for this purpose is. Raises BrokenLink."""
    try:
        ids = contact_signer(purpose).unsign(token)
        return UUID(hex=ids[:32]), UUID(hex=ids[32:])
    except (BadSignature, ValueError):
        raise BrokenLink from None


def link(purpose: str, token: str) -> str:
    return f"{settings.PUBLIC_URL}/recipients/{purpose}/{token}"


def recipient_to_confirm(token: str) -> UUID:
    """Whom the token of a confirm link is for. Raises BrokenLink or ExpiredLink."""
    try:
        return UUID(hex=confirm_signer().unsign(token, max_age=CONFIRM_WITHIN))
    except SignatureExpired:
        raise ExpiredLink(UUID(hex=confirm_signer().unsign(token))) from None
    except (BadSignature, ValueError):
        raise BrokenLink from None


def recipient_to_unsubscribe(token: str) -> UUID:
    """Whom the token of an unsubscribe link is for. Raises BrokenLink."""
    return unsigned(unsubscribe_signer(), token)


def recipient_who_chooses(token: str) -> UUID:
    """Whom the token of a link to the preferences is for. Raises BrokenLink."""
    return unsigned(preferences_signer(), token)


def case_and_person(token: str) -> tuple[UUID, UUID]:
    """What is to be handled, and who has the link. Raises BrokenLink or ExpiredLink."""
    try:
        ids = case_signer().unsign(token, max_age=HANDLE_WITHIN)
        return UUID(hex=ids[:32]), UUID(hex=ids[32:])
    except SignatureExpired:
        raise ExpiredLink(UUID(hex=case_signer().unsign(token)[32:])) from None
    except (BadSignature, ValueError):
        raise BrokenLink from None


def unsigned(signer: Signer, token: str) -> UUID:
    try:
        return UUID(hex=signer.unsign(token))
    except (BadSignature, ValueError):
        raise BrokenLink from None
