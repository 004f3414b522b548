"""How much is measured: enough, or as much as three minutes hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of one run. What is not said to be of the whole run is of one round."""

    rounds: int
    deliveries: int  # by bare senders, and by ours
    tasks: int  # of django-q2, for one delivery each
    batches: int  # of 1,000 events
    posts: int  # of single events, one after the other
    requests: int  # of a publish by HTTP, and of one that does nothing, as many
    retries: int  # at most 100: of a subscription each
    deadline: float  # of hanging attempts, seconds
    flow_seconds: int  # of a moderate rate, among endpoints that hang
    burst: int  # events at once, among endpoints that hang
    future: int  # retries that are not due, of the whole run
    finished: int  # deliveries, of the whole run
    claimed: int  # deliveries
    listed: int  # deliveries in the fuller of two databases, of the whole run
    remembered: int  # deliveries by one cluster whose memory is watched, of the whole run
    idle_seconds: int  # of the whole run
    emails: int
    left_out: str = ""


FULL = Sizes(
    rounds=5,
    deliveries=20_000,
    tasks=2_000,
    batches=5,
    posts=200,
    requests=3_000,
    retries=100,
    deadline=15,
    flow_seconds=20,
    burst=500,
    future=1_000_000,
    finished=2_000_000,
    claimed=5_000,
    listed=3_000_000,
    remembered=100_000,
    idle_seconds=60,
    emails=10_000,
)

FAST = Sizes(
    rounds=2,
    deliveries=4_000,
    tasks=400,
    batches=2,
    posts=35,
    requests=600,
    retries=50,
    deadline=3,
    flow_seconds=4,
    burst=100,
    future=50_000,
    finished=100_000,
    claimed=1_000,
    listed=300_000,
    remembered=5_000,
    idle_seconds=12,
    emails=1_000,
    left_out=(
        "fewer and shorter rounds; hanging attempts of 3 s, not 15; a twentieth of the rows in the full tables;"
        " a tenth of them in the deliveries that are listed;"
        " memory over 5,000 deliveries, not 100,000; 12 s of idleness, not a minute"
    ),
)
