"""The short forms of `make crash`: parts of a running service are killed, and the account holds."""

import os
import subprocess
import sys

import pytest

from tests.support.running import KEPT, REPOSITORY

LONGEST = 300  # seconds; each takes about a minute


def battered(form: str) -> subprocess.CompletedProcess[str]:
    """SEED, as `make crash` prints it, deals the same blows again."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.crash",
            "--short",
            "--form",
            form,
            "--seed",
            os.environ.get("SEED", "1"),
        ],
        cwd=REPOSITORY,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )


def test_every_part_of_the_service_is_killed_under_load_and_every_event_is_accounted_for():
    done = battered("kills")

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Wrong: 0." in done.stdout


@pytest.mark.long
def test_what_is_fresh_is_told_at_once_while_a_backlog_is_worked_off_and_parts_are_killed():
    done = battered("backlog")

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Wrong: 0." in done.stdout
