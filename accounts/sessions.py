"""Sessions of people who have signed in: Django keeps them in the database, and forgets none by itself."""

from datetime import datetime

from django.contrib.sessions.models import Session


def forget_ended_sessions(now: datetime) -> int:
    """Returns how many they were."""
    return Session.objects.filter(expire_date__lt=now).delete()[0]
