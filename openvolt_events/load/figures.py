"""What many measured values come to."""

import math
from collections.abc import Sequence

TRIMMED = 0.1  # of a run, at its start and at its end: not all senders are at work


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them (0 to 1) does not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("There is no percentile of no values.")
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def steady_rate(moments: Sequence[float]) -> float:
    """How many a second, without the first and the last tenth of them. Raises ValueError for too few."""
    trimmed = int(len(moments) * TRIMMED)
    return rate(sorted(moments)[trimmed : len(moments) - trimmed])


def rate(moments: Sequence[float]) -> float:
    """How many a second, from the first to the last of them. Raises ValueError for too few."""
    if len(moments) < 2 or (lasted := max(moments) - min(moments)) == 0:
        raise ValueError(f"{len(moments)} moments are too few for a rate.")
    return (len(moments) - 1) / lasted
