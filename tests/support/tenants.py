"""An application with one of everything that people and keys act on."""

from accounts.models import ApiKey
from deliveries.models import Delivery
from deliveries.publishing import publish
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.api import Api


class Tenant:
    def __init__(self) -> None:
        self.application = factories.application()
        self.key = factories.application_key(self.application)
        self.api = Api(self.key)
        self.webhook = factories.webhook(self.application, description="Orders")
        self.event = publish(self.application, "meter.created", factories.example("meter.created"))
        self.delivery = Delivery.objects.get()
        self.replay = factories.replay(self.webhook)
        self.other_key = ApiKey.objects.issue(
            kind="application", application=self.application, name="CI", scopes=["read"]
        )[0]

    def recipient(self) -> Recipient:
        """One who has not confirmed, of another subscription."""
        return factories.emails(self.application).recipients.get()
