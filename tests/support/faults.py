"""A program with a fault in it: it is killed between two steps. For tests; the product's own code has no such switch.

    OPENVOLT_FAULT="kill after deliveries.settling.insert_attempts"  python -m tests.support.faults drain

`kill` (SIGKILL) or `freeze` (SIGSTOP), `before` or `after`, the full name of a function, and the how manyth call of it
(1 unless said). It happens once: the file OPENVOLT_FAULT_MARK says that it has, to whoever is started again, too.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


def main() -> None:
    import_module("django").setup()
    for module in ("deliveries.dispatch", "deliveries.broker"):
        import_module(module)  # before the fault is put in, so that every name is the one that is called
    put_in(os.environ["OPENVOLT_FAULT"], Path(os.environ["OPENVOLT_FAULT_MARK"]))
    PROGRAMS[sys.argv[1]](*sys.argv[2:])


def drain() -> None:
    import_module("deliveries.dispatch").drain("webhook")


def publish(application_id: str, key: str) -> None:
    """One event; with an idempotency key, as a publisher who must not lose it does."""
    publishing, accounts = import_module("deliveries.publishing"), import_module("accounts.models")
    example = import_module("events.event_types").EVENT_TYPES["user.created"].example
    owner = accounts.Application.objects.get(id=application_id)
    print(publishing.publish(owner, "user.created", example, idempotency_key=key).id)


def qcluster() -> None:
    import_module("django.core.management").call_command("qcluster")


def change(act: str, subscription_id: str) -> None:
    """Pause, resume or delete a subscription."""
    subscription = import_module("subscriptions.models").Subscription.objects.get(id=subscription_id)
    now = import_module("django.utils.timezone").now()
    getattr(import_module("deliveries.lifecycle"), act)(subscription, now)


PROGRAMS: dict[str, Callable[..., None]] = {
    "drain": drain,
    "publish": publish,
    "qcluster": qcluster,
    "change": change,
}


def put_in(fault: str, mark: Path) -> None:
    how, when, name, *number = fault.split()
    holder, attribute = found(name)
    step, calls = getattr(holder, attribute), count(1)

    @functools.wraps(step)
    def faulty(*args: Any, **kwargs: Any) -> Any:
        hit = next(calls) == int(number[0] if number else 1) and not mark.exists()
        if hit and when == "before":
            strike(how, mark)
        result = step(*args, **kwargs)
        if hit and when == "after":
            strike(how, mark)
        return result

    setattr(holder, attribute, faulty)


def found(name: str) -> tuple[Any, str]:
    """The module or class that has the function. A name that is no more fails here."""
    path, _, attribute = name.rpartition(".")
    try:
        holder = import_module(path)
    except ModuleNotFoundError:
        module, _, cls = path.rpartition(".")
        holder = getattr(import_module(module), cls)
    getattr(holder, attribute)
    return holder, attribute


def strike(how: str, mark: Path) -> None:
    mark.write_text(f"{os.getpid()}")
    os.kill(os.getpid(), SIGNALS[how])


if __name__ == "__main__":
    main()
