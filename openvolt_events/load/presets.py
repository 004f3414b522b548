"""Scenarios: who publishes how much, and how the endpoints behave that are told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openvolt_events.load.receiver import HEALTHY, Conduct


@dataclass(frozen=True)
class Endpoints:
    """So many subscriptions of each application, which behave alike. `listening` False: connections are refused."""

    name: str
    subscriptions: int = 1
    conduct: Conduct = HEALTHY
    listening: bool = True


@dataclass(frozen=True)
class Tenants:
    """So many applications, for which `rate` events a second are published together, in turn."""

    name: str
    rate: float
    endpoints: Sequence[Endpoints]
    applications: int = 1


@dataclass(frozen=True)
class Preset:
    about: str
    tenants: Sequence[Tenants]

    def with_rate(self, rate: float) -> "Preset":
        return replace(self, tenants=[replace(one, rate=rate) for one in self.tenants])

    def with_conduct(self, **changes: float) -> "Preset":
        """The same with these fields of every `Conduct` changed."""
        return replace(self, tenants=[replace(one, endpoints=changed(one, changes)) for one in self.tenants])


def changed(tenants: Tenants, changes: dict[str, float]) -> list[Endpoints]:
    return [replace(one, conduct=one.conduct._replace(**changes)) for one in tenants.endpoints]


PRESETS = {
    "steady": Preset(
        "one application with five healthy endpoints",
        [Tenants("steady", 20, [Endpoints("healthy", 5)])],
    ),
    "flaky": Preset(
        "one application, one endpoint in five fails every third time",
        [Tenants("flaky", 20, [Endpoints("healthy", 4), Endpoints("failing", 1, Conduct(failing=0.33))])],
    ),
    "keygen-771": Preset(
        "one application at 400 events a second whose endpoints hang, among ten that do nothing wrong"
        " (keygen-sh/keygen-api#771)",
        [
            Tenants("loud", 400, [Endpoints("hanging", 2, Conduct(hanging=1))]),
            Tenants("quiet", 20, [Endpoints("healthy", 1)], applications=10),
        ],
    ),
}
