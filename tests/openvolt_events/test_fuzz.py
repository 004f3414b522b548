"""`make fuzz` in a short form: the same requests in every run, against the whole service, with all checks on.

What schemathesis calls coverage, each bound of each field one by one, takes too long here; `make fuzz` has it.
"""

import re

from tests.fuzz.service import fuzz, service

SHORT = [
    *("--phases", "examples,fuzzing,stateful", "--max-examples", "3", "--seed", "5"),
    *("--generation-database", "none", "--request-timeout", "30"),
]
RUN_SECONDS = 480


def test_the_running_service_keeps_to_its_schema_whatever_is_asked():
    with service() as running:
        done = fuzz(running, *SHORT, capture_output=True, timeout=RUN_SECONDS)

        assert done.returncode == 0, done.stdout + done.stderr + running.said
        assert "Traceback" not in running.said
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested
    assert f"Selected: {tested[1]}/{tested[1]}" in done.stdout
    for phase in ("Examples", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in done.stdout, done.stdout
