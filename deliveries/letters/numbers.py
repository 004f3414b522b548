"""Numbers as they are written in the language that is on: 1,204.5 or 1.204,5."""

from django.utils.formats import number_format


def number(value: float, decimals: int = 0) -> str:
    return str(number_format(round(value, decimals), decimals, use_l10n=True, force_grouping=True))


def fraction(value: float) -> str:
    """With as many digits as it has."""
    return str(number_format(value, use_l10n=True))


def milliseconds(value: float) -> str:
    return f"{number(value)} ms" if value < 1000 else f"{number(value / 1000, 1)} s"
