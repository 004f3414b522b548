"""The shell blocks of docs/api.md are run against a whole service, in order, and answer what the page says."""

import os
import re
import shutil
import subprocess

import pytest

from tests.support.pages import blocks, text_of
from tests.support.receivers import Receiver
from tests.support.running import Running, free_port, new_directory

RUN_SECONDS = 120
LINE = "~~~~"


def steps() -> list[tuple[str, str]]:
    """Each shell block, and the answer that stands below it."""
    found = blocks(text_of("api.md"))
    assert [one.language for one in found] == ["sh", "text"] * (len(found) // 2)
    return [(shell.code, text.code) for shell, text in zip(found[::2], found[1::2], strict=True)]


def fits(said: str, expected: str) -> bool:
    """`…` stands for what is another each time."""
    pattern = ".+".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, said.replace("\r", "").strip()) is not None


def test_the_blocks_of_the_page_answer_what_stands_below_them():
    if not shutil.which("curl"):
        pytest.skip("curl is not here, which the page uses.")
    script = "set -u\n" + f"echo {LINE}\n".join(code for code, _ in steps())
    with new_directory() as directory, Receiver() as receiver:
        running = Running(directory / "var", free_port(), {})
        try:
            running.wait_until_up()
            done = subprocess.run(
                ["sh", "-c", script],
                cwd=directory,
                env=os.environ | {"RECEIVER": receiver.url},
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
            )
        finally:
            running.end()

    assert done.stderr == ""
    said = done.stdout.split(f"{LINE}\n")
    for (code, expected), answer in zip(steps(), said, strict=True):
        assert fits(answer, expected), f"{code}\nanswered\n{answer}\nand not\n{expected}"


@pytest.mark.parametrize(("said", "expected"), [("whsec_x\r\n", "whsec_…\n"), ("a b\nc", "a …\nc\n")])
def test_what_fits_is_found(said, expected):
    assert fits(said, expected)
    assert not fits(f"{said}\nmore", expected.replace("…", "x"))
