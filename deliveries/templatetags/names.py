"""What others chose, on pages as in emails."""

from django import template

from deliveries.letters.reading import isolated, said

register = template.Library()


@register.filter
def named(chosen: str) -> str:
    return isolated(said(chosen))
