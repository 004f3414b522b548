"""What email providers post about emails, in the forms that they document."""

import base64
import hashlib
import hmac
import json
from typing import Any

PASSWORD = "provider:a-password-of-24-letters"
SIGNING_KEY = "the-key-of-mailgun"
AUTHORIZATION = f"Basic {base64.b64encode(PASSWORD.encode()).decode()}"

POSTMARK: dict[str, dict[str, Any]] = {
    "delivered": {"RecordType": "Delivery", "DeliveredAt": "2026-11-02T16:05:50Z", "Details": "250 queued"},
    "bounced": {
        "RecordType": "Bounce",
        "ID": 4711,
        "Type": "HardBounce",
        "TypeCode": 1,
        "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
        "Details": "smtp;550 5.1.1 The email account that you tried to reach does not exist",
        "BouncedAt": "2026-11-02T16:05:50Z",
        "Inactive": True,
    },
    "soft_bounced": {
        "RecordType": "Bounce",
        "ID": 4712,
        "Type": "SoftBounce",
        "Details": "smtp;552 5.2.2 Mailbox full",
        "BouncedAt": "2026-11-02T16:05:50Z",
    },
    "complained": {
        "RecordType": "SpamComplaint",
        "ID": 4713,
        "Type": "SpamComplaint",
        "Details": "",
        "Description": "The subscriber explicitly marked this message as spam.",
        "BouncedAt": "2026-11-02T16:05:50Z",
    },
    "opened": {"RecordType": "Open", "FirstOpen": True, "ReceivedAt": "2026-11-02T16:05:50Z"},
}


def postmark(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    where = {"Recipient": email} if kind in ("delivered", "opened") else {"Email": email}
    body = {
        **POSTMARK[kind],
        **where,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Metadata": {"openvolt_id": str(id)},
        **more,
    }
    return json.dumps(body).encode(), {"content-type": "application/json"}


SENDGRID = {
    "delivered": {"event": "delivered", "response": "250 OK"},
    "bounced": {"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 No such user"},
    "soft_bounced": {"event": "bounce", "type": "blocked", "status": "4.0.0", "reason": "blocked for now"},
    "complained": {"event": "spamreport"},
    "opened": {"event": "open", "useragent": "Mozilla"},
}


def sendgrid(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    event = {
        **SENDGRID[kind],
        "email": email,
        "timestamp": 1793635550,
        "smtp-id": f"<{id}@openvolt.example>",
        "sg_event_id": f"{kind}-event",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001",
        "openvolt_id": str(id),
        **more,
    }
    return json.dumps([event]).encode(), {"content-type": "application/json"}


MAILGUN: dict[str, dict[str, Any]] = {
    "delivered": {"event": "delivered", "delivery-status": {"code": 250, "message": "OK"}},
    "bounced": {
        "event": "failed",
        "severity": "permanent",
        "reason": "bounce",
        "delivery-status": {"code": 550, "message": "550 5.1.1 No such user"},
    },
    "soft_bounced": {
        "event": "failed",
        "severity": "permanent",
        "reason": "generic",
        "delivery-status": {"code": 552, "message": "552 5.2.2 Mailbox full"},
    },
    "complained": {"event": "complained"},
    "opened": {"event": "opened", "client-info": {"user-agent": "Mozilla"}},
}


def mailgun(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Signed. It gives back the Message-ID and the metadata."""
    timestamp, token = "1793635550", f"token-of-{kind}"
    key = more.pop("key", SIGNING_KEY)
    signature = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    body = {
        "signature": {"timestamp": timestamp, "token": token, "signature": signature},
        "event-data": {
            **MAILGUN[kind],
            "id": "ncV2XwymRUKbPek_MIM-Gw",
            "timestamp": 1793635550.25,
            "recipient": email,
            "message": {"headers": {"message-id": f"{id}@openvolt.example", "to": email}},
            "user-variables": {},
            **more,
        },
    }
    return json.dumps(body).encode(), {"content-type": "application/json"}


AMAZON = {
    "delivered": ("Delivery", lambda email: {"recipients": [email], "smtpResponse": "250 2.6.0 received"}),
    "bounced": (
        "Bounce",
        lambda email: {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": email, "diagnosticCode": "smtp; 550 5.1.1 user unknown"}],
        },
    ),
    "soft_bounced": (
        "Bounce",
        lambda email: {
            "bounceType": "Transient",
            "bounceSubType": "MailboxFull",
            "bouncedRecipients": [{"emailAddress": email}],
        },
    ),
    "complained": (
        "Complaint",
        lambda email: {
            "complainedRecipients": [{"emailAddress": email}],
            "complaintFeedbackType": "abuse",
        },
    ),
    "opened": ("Open", lambda email: {"ipAddress": "192.0.2.1", "userAgent": "Mozilla"}),
}


def amazon_ses(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    """In an envelope of SNS. It gives the email an id of its own, and gives back the headers."""
    name, details = AMAZON[kind]
    told = {
        "eventType": name,
        "mail": {
            "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
            "destination": [email],
            "headers": [{"name": "Message-ID", "value": f"<{id}@openvolt.example>"}],
            "commonHeaders": {"messageId": f"<{id}@openvolt.example>"},
        },
        name.lower(): details(email),
    }
    sns_id = f"19ba9823-d7f2-53c1-860e-cb10e0d13dfc-{kind}"
    body = {
        "Type": "Notification",
        "MessageId": sns_id,
        "TopicArn": "arn:aws:sns:eu-west-1:1234567890:SES",
        "Message": json.dumps(told),
        "Timestamp": "2026-11-02T16:05:50.590Z",
        **more,
    }
    headers = {
        "content-type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": body["Type"],
        "x-amz-sns-message-id": sns_id,
    }
    return json.dumps(body).encode(), headers


PAYLOADS = {"postmark": postmark, "sendgrid": sendgrid, "mailgun": mailgun, "amazon_ses": amazon_ses}
