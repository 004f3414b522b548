"""What stands in the documentation: blocks of code, and tables."""

import re
from dataclasses import dataclass

from tests.support.running import REPOSITORY

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$")


@dataclass(frozen=True)
class Block:
    """A block of code, and the heading that it stands under."""

    heading: str
    language: str
    code: str


def text_of(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text()


def blocks(text: str) -> list[Block]:
    """All of a page, in their order."""
    return [Block(heading_above(text, found.start()), *found.groups()) for found in BLOCK.finditer(text)]


def heading_above(text: str, position: int) -> str:
    above = BLOCK.sub("", text[:position]).splitlines()
    return next((found[1] for line in reversed(above) if (found := HEADING.match(line))), "")


def table(text: str, first_column: str) -> list[dict[str, str]]:
    """The rows of the table whose first column has this title, by the titles of the columns."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if cells(line)[:1] == [first_column])
    titles = cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(titles, cells(line), strict=True)))
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []


def named_tests(text: str) -> set[str]:
    """What a page names as the tests that show it: files, and single tests."""
    return set(re.findall(r"`((?:[a-z_]+/)*test_\w+(?:\.py)?|(?:tests/)[\w/]+\.py)`", text))


def existing_tests() -> set[str]:
    """Files by their name and by their path, and single tests."""
    files = sorted((REPOSITORY / "tests").rglob("*.py"))
    found = {name for file in files for name in (file.name, str(file.relative_to(REPOSITORY)))}
    return found.union(
        *(re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE) for file in files)
    )
