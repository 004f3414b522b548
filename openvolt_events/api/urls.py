"""The paths of the public API (contract, section 5)."""

from django.urls import path, register_converter

from openvolt_events.api import (
    api_keys,
    applications,
    deliveries,
    event_preview,
    event_types,
    events,
    replays,
    schema,
    sequence,
    subscription_preview,
    subscription_secret,
    subscriptions,
)
from openvolt_events.api.ids import IdInPath

register_converter(IdInPath, "id")

urlpatterns = [
    path("openapi.json", schema.OpenApi.as_view()),
    path("events", events.Events.as_view()),
    path("events/batch", events.EventBatch.as_view()),
    path("events/preview", event_preview.PreviewOfEvent.as_view()),
    path("events/<id:id>", events.SingleEvent.as_view()),
    path("events/<id:id>/replay", events.EventReplay.as_view()),
    path("event-types", event_types.EventTypes.as_view()),
    path("event-types/<str:name>", event_types.SingleEventType.as_view()),
    path("subscriptions", subscriptions.Subscriptions.as_view()),
    path("subscriptions/preview", subscription_preview.SubscriptionPreview.as_view()),
    path("subscriptions/<id:id>", subscriptions.SingleSubscription.as_view()),
    path("subscriptions/<id:id>/pause", subscriptions.PauseSubscription.as_view()),
    path("subscriptions/<id:id>/resume", subscriptions.ResumeSubscription.as_view()),
    path("subscriptions/<id:id>/secret", subscription_secret.SubscriptionSecret.as_view()),
    path("subscriptions/<id:id>/rotate-secret", subscription_secret.RotateSecret.as_view()),
    path("subscriptions/<id:id>/sequence", sequence.SubscriptionSequence.as_view()),
    path("subscriptions/<id:id>/test", subscriptions.TestSubscription.as_view()),
    path("subscriptions/<id:id>/replays", replays.Replays.as_view()),
    path("replays/<id:id>", replays.SingleReplay.as_view()),
    path("replays/<id:id>/cancel", replays.ReplayCancel.as_view()),
    path("deliveries", deliveries.Deliveries.as_view()),
    path("deliveries/<id:id>", deliveries.SingleDelivery.as_view()),
    path("deliveries/<id:id>/retry", deliveries.DeliveryRetry.as_view()),
    path("deliveries/<id:id>/cancel", deliveries.DeliveryCancel.as_view()),
    path("applications", applications.Applications.as_view()),
    path("application", applications.OwnApplication.as_view()),
    path("api-keys", api_keys.ApiKeys.as_view()),
    path("api-keys/<id:id>", api_keys.SingleApiKey.as_view()),
    path("api-keys/<id:id>/rotate", api_keys.RotateApiKey.as_view()),
]
