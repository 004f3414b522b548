"""The short form of `make crash`: every part of a running service is killed once, and the account holds."""

import os
import subprocess
import sys

from tests.support.running import KEPT, REPOSITORY

LONGEST = 240  # seconds; it takes well under a minute


def test_every_part_of_the_service_is_killed_under_load_and_every_event_is_accounted_for():
    seed = os.environ.get("SEED", "1")

    battered = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--short", "--seed", seed],
        cwd=REPOSITORY,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )

    assert battered.returncode == 0, f"SEED={seed}\n{battered.stdout}\n{battered.stderr}"
    assert f"SEED={seed}" in battered.stdout
    assert "Wrong: 0." in battered.stdout
