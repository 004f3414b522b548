"""What others chose, as people may see it: nothing in it hides, or turns around what it stands in."""

from unicodedata import category

HIDDEN = {"Cc", "Cf", "Cs"}  # controls, marks that turn the reading direction around, blanks of no width
JOINERS = "\u200c\u200d"  # which Persian, Indian scripts and emoji need


def visible(value: object) -> str:
    text = " ".join(str(value).split())
    if text.isascii() and text.isprintable():
        return text
    return "".join(each for each in text if each in JOINERS or category(each) not in HIDDEN)
