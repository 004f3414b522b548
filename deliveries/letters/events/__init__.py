"""One file a type of event: `EVENT_TYPE`, `SENTENCE` (the catalogue's, so that it can be translated) and `letter`."""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from deliveries.letters import Letter, Told


def found() -> tuple[dict[str, Callable[[Told], Letter]], dict[str, str]]:
    letters, sentences = {}, {}
    for each in iter_modules(__path__, f"{__name__}."):
        module = import_module(each.name)
        letters[module.EVENT_TYPE] = module.letter
        sentences[module.EVENT_TYPE] = module.SENTENCE
    return letters, sentences


LETTERS, SENTENCES = found()
