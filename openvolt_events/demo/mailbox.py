"""A recipient of emails: reads what was written for the address, and clicks the link that confirms it."""

import email
import email.policy
import json
import re
from email.message import EmailMessage
from email.utils import getaddresses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from openvolt_events.demo.receivers import Receipt

LINK = re.compile(r"https?://[^\s<>\"]+")
TIMEOUT_SECONDS = 30


class Mailbox:
    """The emails to one new address among the `.eml` files that come to a directory from now on."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self.address = address
        self._read: dict[str, EmailMessage | None] = {path.name: None for path in directory.glob("*.eml")}

    def messages(self) -> list[EmailMessage]:
        """All that have come so far, the oldest first. Each file is read once."""
        for path in sorted(self.directory.glob("*.eml")):
            if path.name not in self._read:
                self._read[path.name] = self.own(path)
        return [message for message in self._read.values() if message]

    def own(self, path: Path) -> EmailMessage | None:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        to = [address for _, address in getaddresses([str(message["to"])])]
        return message if self.address in to else None

    def receipts(self) -> list[Receipt]:
        """The notifications among the emails."""
        documents = [document for message in self.messages() if (document := notification(message))]
        return [
            Receipt(document["delivery_id"], "", "", accepted=True, verified=None, document=document)
            for document in documents
        ]

    def confirmation_link(self) -> str | None:
        """The link of the newest email that asks to confirm the address."""
        asking = [message for message in self.messages() if notification(message) is None]
        return first_link(asking[-1]) if asking else None


def notification(message: EmailMessage) -> dict[str, Any] | None:
    """The notification JSON that comes as a part of the email."""
    for part in message.walk():
        if part.get_content_type() == "application/json":
            document: dict[str, Any] = json.loads(part.get_payload(decode=True))  # type: ignore[arg-type]
            return document
    return None


def first_link(message: EmailMessage) -> str | None:
    text = message.get_body(("plain",))
    found = LINK.search(text.get_content()) if text else None
    return found.group() if found else None


class Form(HTMLParser):
    """The first form of a page that posts: where to, and what a browser would send."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None and attributes.get("method", "").lower() == "post":
            self._open, self.action = True, attributes.get("action", "")
        elif self._open and tag in ("input", "button") and attributes.get("name"):
            self.fields.setdefault(attributes["name"], attributes.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False


def confirm(link: str) -> None:
    """Open the link and press the page's button, as a browser does. Raises `requests.RequestException`."""
    with requests.Session() as browser:
        browser.trust_env = False
        page = browser.get(link, timeout=TIMEOUT_SECONDS)
        page.raise_for_status()
        form = Form(page.text)
        answer = browser.post(
            urljoin(page.url, form.action or ""),
            data=form.fields,
            headers={"referer": page.url},
            timeout=TIMEOUT_SECONDS,
        )
        answer.raise_for_status()
