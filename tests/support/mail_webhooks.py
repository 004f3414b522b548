"""What email providers post about emails, in the forms that they document."""

import base64
import hashlib
import hmac
import json
from typing import Any

PASSWORD = "provider:a-password-of-24-letters"
SIGNING_KEY = "the-key-of-those-that-sign"
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


BREVO: dict[str, dict[str, Any]] = {
    "delivered": {"event": "delivered"},
    "bounced": {"event": "hard_bounce", "reason": "Unknown user: the server deferred the message for good"},
    "soft_bounced": {"event": "soft_bounce", "reason": "552 5.2.2 Mailbox full"},
    "complained": {"event": "spam"},
    "unsubscribed": {"event": "unsubscribe"},
    "rejected": {"event": "blocked", "reason": "blocked : due to blacklist user"},
    "deferred": {"event": "deferred", "reason": "451 4.7.1 Greylisted"},
    "opened": {"event": "unique_opened", "user_agent": "Mozilla"},
}


def brevo(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    """It gives back the metadata as the text of JSON, and has no id for the event."""
    body = {
        "id": 26224,
        "date": "2026-11-02 17:05:50",
        "ts": 1793635550,
        "ts_event": 1793635550,
        "ts_epoch": 1793635550123,
        "message-id": "<202611021605.21223344556@smtp-relay.mailin.fr>",
        "subject": "New meter",
        "sending_ip": "192.0.2.1",
        "tag": "",
        "X-Mailin-custom": json.dumps({"openvolt_id": str(id)}),
        "email": email,
        **BREVO[kind],
        **more,
    }
    return json.dumps(body).encode(), {"content-type": "application/json"}


MAILERSEND: dict[str, tuple[str, dict[str, Any] | None]] = {
    "delivered": ("delivered", None),
    "bounced": ("hard_bounced", {"object": "recipient_bounce", "reason": "Host or domain name not found"}),
    "soft_bounced": ("soft_bounced", {"object": "recipient_bounce", "reason": "Mailbox is full"}),
    "complained": ("spam_complaint", {"object": "spam_complaint", "reason": None}),
    "unsubscribed": ("unsubscribed", {"object": "recipient_unsubscribe", "reason": "option_3"}),
    "opened": ("opened", {"object": "open", "ip": "192.0.2.1"}),
}


def mailersend(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Signed. It gives back neither the Message-ID nor metadata."""
    named, morph = MAILERSEND[kind]
    key = more.pop("key", SIGNING_KEY)
    body = {
        "type": f"activity.{named}",
        "domain_id": "yv69oxl5kl785kw2",
        "created_at": "2026-11-02T16:05:51.000000Z",
        "webhook_id": "2351ndgwr4zqx8ko",
        "url": "https://events.example.com/anymail/mailersend/tracking/",
        "data": {
            "object": "activity",
            "id": f"62f114f8165fe0d8db0288e{kind[0]}",
            "type": named,
            "created_at": "2026-11-02T16:05:50.000000Z",
            "email": {
                "object": "email",
                "id": "62f114f7165fe0d8db0288e3",
                "created_at": "2026-11-02T16:05:45.000000Z",
                "from": "events@openvolt.example",
                "subject": "New meter",
                "status": "rejected" if "bounced" in kind else "sent",
                "tags": None,
                "headers": None,
                "message": {
                    "object": "message",
                    "id": "62fb66bef54a112e920b5493",
                    "created_at": "2026-11-02T16:05:45.000000Z",
                },
                "recipient": {
                    "object": "recipient",
                    "id": "62c69be104270ee9c0074d02",
                    "email": email,
                    "created_at": "2026-07-07T08:40:01.000000Z",
                },
            },
            "morph": morph,
            "template_id": "",
        },
        **more,
    }
    sent = json.dumps(body).encode()
    signature = hmac.new(key.encode(), sent, hashlib.sha256).hexdigest()
    return sent, {"content-type": "application/json", "signature": signature}


MAILJET: dict[str, dict[str, Any]] = {
    "delivered": {"event": "sent", "smtp_reply": "250 2.0.0 OK", "mj_message_id": "19421777835146490"},
    "bounced": {
        "event": "bounce",
        "blocked": False,
        "hard_bounce": True,
        "error_related_to": "recipient",
        "error": "user unknown",
        "comment": "Host or domain name not found.",
    },
    "soft_bounced": {
        "event": "bounce",
        "blocked": False,
        "hard_bounce": False,
        "error_related_to": "recipient",
        "error": "quota exceeded",
    },
    "complained": {"event": "spam", "source": "JMRPP"},
    "unsubscribed": {"event": "unsub", "mj_list_id": 1, "ip": "192.0.2.1", "geo": "FR"},
    "rejected": {"event": "blocked", "error_related_to": "mailjet", "error": "preblocked"},
    "deferred": {"event": "bounce", "hard_bounce": False, "error": "greylisted"},
    "opened": {"event": "open", "ip": "192.0.2.1", "geo": "US", "agent": "Mozilla"},
}


def mailjet(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    """In a list, as with "group events". Without it one event comes bare."""
    event = {
        "time": 1793635550,
        "MessageID": 19421777835146490,
        "Message_GUID": "1ab23cd4-e567-8901-2345-6789f0gh1i2j",
        "email": email,
        "mj_campaign_id": 7257,
        "mj_contact_id": 4,
        "customcampaign": "",
        "CustomID": "",
        "Payload": json.dumps({"openvolt_id": str(id)}),
        **MAILJET[kind],
        **more,
    }
    return json.dumps([event]).encode(), {"content-type": "application/json"}


RESEND: dict[str, tuple[str, dict[str, Any]]] = {
    "delivered": ("email.delivered", {}),
    "bounced": (
        "email.bounced",
        {
            "bounce": {
                "message": "The recipient's email provider sent a hard bounce message, but didn't specify the reason.",
                "subType": "General",
                "type": "Permanent",
            }
        },
    ),
    "soft_bounced": (
        "email.bounced",
        {
            "bounce": {
                "message": "The recipient's email provider sent a bounce message because the inbox was full.",
                "subType": "MailboxFull",
                "type": "Transient",
            }
        },
    ),
    "complained": ("email.complained", {}),
    "deferred": ("email.delivery_delayed", {}),
    "opened": ("email.opened", {}),
}


def resend(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    """It gives back the headers, of which Anymail makes one of the metadata. The event's own id is a header."""
    named, details = RESEND[kind]
    body = {
        "type": named,
        "created_at": "2026-11-02T16:05:50.126Z",
        "data": {
            "created_at": "2026-11-02T16:05:45.000Z",
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "from": "Openvolt Events <events@openvolt.example>",
            "to": [email],
            "subject": "New meter",
            "headers": [{"name": "X-Metadata", "value": json.dumps({"openvolt_id": str(id)})}],
            **details,
        },
        **more,
    }
    headers = {
        "svix-id": f"msg_{kind}",
        "svix-timestamp": "1793635551",
        "svix-signature": "v1,bm90IGxvb2tlZCBhdA==",
    }
    return json.dumps(body).encode(), {"content-type": "application/json", **headers}


SPARKPOST: dict[str, dict[str, Any]] = {
    "delivered": {"type": "delivery"},
    "bounced": {
        "type": "bounce",
        "bounce_class": "10",
        "error_code": "550",
        "raw_reason": "550 User unknown",
    },
    "soft_bounced": {"type": "bounce", "bounce_class": "22", "raw_reason": "552 5.2.2 Mailbox full"},
    "complained": {"type": "spam_complaint", "fbtype": "abuse", "report_by": "mail.example"},
    "unsubscribed": {"type": "list_unsubscribe", "mailfrom": "recipient@example.com"},
    "rejected": {"type": "policy_rejection", "raw_reason": "550 5.7.1 transmission blocked"},
    "deferred": {"type": "delay", "bounce_class": "21", "raw_reason": "451 4.4.4 DNS failure"},
    "opened": {"type": "open", "user_agent": "Mozilla"},
}
CLASSES = {"unsubscribed": "unsubscribe_event", "opened": "track_event"}


def sparkpost(kind: str, email: str, id: object, **more: Any) -> tuple[bytes, dict[str, str]]:
    event = {
        "event_id": "92356927693813856",
        "timestamp": "1793635550",
        "transmission_id": "65832150921904138",
        "message_id": "000443ee14578172be22",
        "customer_id": "1",
        "rcpt_to": email.lower(),
        "raw_rcpt_to": email,
        "rcpt_meta": {"openvolt_id": str(id)},
        "rcpt_tags": [],
        "msg_from": "msprvs1=1793635550@bounces.openvolt.example",
        **SPARKPOST[kind],
        **more,
    }
    told = [{"msys": {CLASSES.get(kind, "message_event"): event}}]
    return json.dumps(told).encode(), {"content-type": "application/json"}


PAYLOADS = {
    "amazon_ses": amazon_ses,
    "brevo": brevo,
    "mailersend": mailersend,
    "mailgun": mailgun,
    "mailjet": mailjet,
    "postmark": postmark,
    "resend": resend,
    "sendgrid": sendgrid,
    "sparkpost": sparkpost,
}
NAMES_NO_EMAIL = {"mailersend"}
