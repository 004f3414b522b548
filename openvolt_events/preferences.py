"""The form in which a recipient chooses what to get, and when."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Self
from zoneinfo import available_timezones

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deliveries.channels.wording import sentences
from deliveries.letters.reader import LANGUAGES
from events.event_types import EVENT_TYPES
from subscriptions.models import EVERY_TYPE, Channel, Recipient, Subscription
from subscriptions.rhythm import Frequency

FREQUENCIES = [
    (Frequency.AT_ONCE.value, gettext_lazy("At once")),
    (Frequency.HOURLY.value, gettext_lazy("Once an hour, in one email")),
    (Frequency.DAILY.value, gettext_lazy("Once a day, in one email")),
]
CONTINENTS = frozenset(
    (
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    )
)
FIELDS = ("types", "frequency", "digest_hour", "notes", "quiet_from", "quiet_until", "timezone", "language")

NOT_OF_A_FALLBACK = ("frequency", "digest_hour")  # which is told of each webhook by itself


def zones() -> Iterator[tuple[str, str | list[tuple[str, str]]]]:
    """By continents, as a list to choose from."""
    yield "UTC", "UTC"
    named = sorted(zone for zone in available_timezones() if zone.partition("/")[0] in CONTINENTS)
    for continent, group in groupby(named, key=lambda zone: zone.partition("/")[0]):
        yield continent, [(zone, zone.partition("/")[2].replace("_", " ")) for zone in group]


ZONES = list(zones())


def clock() -> forms.TimeInput:
    return forms.TimeInput(attrs={"type": "time"}, format="%H:%M")


def reading_fields() -> tuple[forms.ChoiceField, forms.ChoiceField]:
    """For the time zone and the language."""
    return forms.ChoiceField(choices=ZONES), forms.ChoiceField(choices=list(LANGUAGES.items()))


class PreferencesForm(forms.Form):
    """`types` come out empty when all of the subscription's are chosen, so that later ones are wanted, too."""

    types = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one. To get none at all, unsubscribe.")},
    )
    frequency = forms.ChoiceField(choices=FREQUENCIES, widget=forms.RadioSelect)
    digest_hour = forms.TypedChoiceField(coerce=int, choices=[(hour, f"{hour:02}:00") for hour in range(24)])
    notes = forms.BooleanField(
        required=False, label=gettext_lazy("Tell me when somebody else is on something that I was told of")
    )
    quiet_from = forms.TimeField(required=False, widget=clock())
    quiet_until = forms.TimeField(required=False, widget=clock())
    timezone, language = reading_fields()

    def __init__(self, subscription: Subscription, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if subscription.channel == Channel.WEBHOOK:
            for name in NOT_OF_A_FALLBACK:
                del self.fields[name]
        names = types_of(subscription)
        self.fields["types"].choices = list(zip(names, sentences(names), strict=True))  # type: ignore[attr-defined]

    @classmethod
    def of(cls, recipient: Recipient) -> Self:
        initial = {name: getattr(recipient, name) for name in FIELDS}
        initial["types"] = recipient.types or types_of(recipient.subscription)
        form = cls(recipient.subscription, initial=initial)
        if has_never_chosen(recipient):
            form.fields["timezone"].widget.attrs["data-unchosen"] = True  # zone.js proposes the browser's
        return form

    def clean_types(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["types"]
        return [] if len(chosen) == len(self.fields["types"].choices) else chosen  # type: ignore[attr-defined]

    def clean(self) -> None:
        begin, end = self.cleaned_data.get("quiet_from"), self.cleaned_data.get("quiet_until")
        if self.errors.keys() & {"quiet_from", "quiet_until"}:
            return
        if (begin is None) != (end is None):
            self.add_error(
                "quiet_from" if begin is None else "quiet_until", _("Give both times, or neither of them.")
            )
        elif begin is not None and begin == end:
            self.add_error("quiet_until", _("Choose another time than that at which the quiet hours begin."))


def has_never_chosen(recipient: Recipient) -> bool:
    """Whether all is as it was at first, but for the language, which confirming takes from the browser."""
    new = Recipient()
    return all(getattr(recipient, name) == getattr(new, name) for name in FIELDS if name != "language")


def is_zone(name: str) -> bool:
    return forms.ChoiceField(choices=ZONES).valid_value(name)


def types_of(subscription: Subscription) -> list[str]:
    wanted = set(subscription.emailed_types)
    known = [name for name in EVENT_TYPES if wanted & {EVERY_TYPE, name}]
    return known + sorted(wanted - {EVERY_TYPE} - EVENT_TYPES.keys())
