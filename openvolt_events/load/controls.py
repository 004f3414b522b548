"""Changing a load while it runs: lines like `rate 200`, `failing 0.3`, `loud.rate 50` or `healthy.latency 0.5`."""

from openvolt_events.load.receiver import Conduct
from openvolt_events.load.traffic import Traffic

HELP = (
    "While it runs, type: rate 200 (events a second), failing 0.3 or hanging 0.1 (share of answers),"
    " latency 0.5 (seconds). A name in front means that one alone: "
)


class Misunderstood(ValueError):
    """The text says what can be asked for."""


def obey(traffic: Traffic, line: str) -> str:
    """Carry out one line; return what was done. Raises `Misunderstood`."""
    what, number = parse(line)
    name, dot, setting = what.rpartition(".")
    known = list(traffic.flows) if setting == "rate" else list(traffic.conducts)
    if dot and name not in known:
        raise Misunderstood(f"There is no {name!r} to set {setting!r} of; choose one of: {', '.join(known)}.")
    chosen = [name] if dot else known
    for one in chosen:
        change(traffic, one, setting, number)
    return f"{setting} is {number:g} for {', '.join(chosen)}"


def parse(line: str) -> tuple[str, float]:
    what, _, text = line.strip().replace("=", " ").partition(" ")
    setting = what.rpartition(".")[2]
    try:
        number = float(text)
    except ValueError:
        number = -1
    most = 1 if setting in ("failing", "hanging") else float("inf")
    if setting not in ("rate", *Conduct._fields) or not 0 <= number <= most or number == float("inf"):
        raise Misunderstood(
            f"{line.strip()!r} is not understood. Type rate, failing, hanging or latency, and a number."
        )
    return what, number


def change(traffic: Traffic, name: str, setting: str, number: float) -> None:
    if setting == "rate":
        traffic.change_rate(name, number)
    else:
        traffic.change_conduct(name, traffic.conducts[name]._replace(**{setting: number}))
