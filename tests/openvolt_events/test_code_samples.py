"""Every code sample of the reference does what it says, when it is copied and run against the service."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from openvolt_events.api.examples import CALLS
from openvolt_events.api.samples import Sample, written
from openvolt_events.api.schema import document
from tests.support.world import World

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT = json.loads(document())
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
RUN_SECONDS = 60
PROGRAMS = {
    "curl": ["bash", "-euc"],
    "Python": [sys.executable, "-c"],
    "JavaScript": ["node", "--input-type=module", "--eval"],
}


def filled(source: str, path: str, world: World) -> str:
    """The sample with ids that there are, in place of those of the examples."""
    places = {
        CALLS["create_application"][0]["answer"]["id"]: str(world.owner.id),
        CALLS["create_subscription"][0]["answer"]["id"]: str(world.webhook.id),
        "https://hooks.greenhomes.example/meters": "http://127.0.0.1:9/",
        "crm-4711": f"crm-{world.owner.id}",
        **{id: world.id_in(path) for id in ids_in_path(path)},
    }
    for example, own in places.items():
        source = source.replace(example, own)
    return source


def ids_in_path(path: str) -> list[str]:
    names = [operation["operationId"] for operation in DOCUMENT["paths"][path].values()]
    asked = [example["request"]["path"] for name in names for example in CALLS.get(name, [])]
    return [ids["id"] for ids in asked if "id" in ids]


def samples_of(path: str, method: str) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = DOCUMENT["paths"][path][method].get("x-codeSamples", [])
    return samples


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_samples_of_every_call_do_what_they_say(live_server, path, method):
    samples = samples_of(path, method)
    assert [one["label"] for one in samples] == list(PROGRAMS)

    running = [
        start(one, path, live_server.url) for one in samples if shutil.which(PROGRAMS[one["label"]][0])
    ]

    for label, source, process in running:
        said, complaint = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == 0, f"{label}:\n{source}\n{said}{complaint}"
        assert json.loads(said) if said.strip() else method == "delete"


def start(sample: dict[str, Any], path: str, url: str) -> tuple[str, str, subprocess.Popen[str]]:
    """Under way, for an application of its own."""
    world = World()
    environment = {
        "PATH": os.environ["PATH"],
        "OPENVOLT_URL": url,
        "OPENVOLT_API_KEY": world.keys["application"],
        "OPENVOLT_PLATFORM_KEY": world.keys["platform"],
    }
    source = filled(sample["source"], path, world)
    if sample["label"] == "curl":
        source += " --silent --show-error --fail-with-body"
    process = subprocess.Popen(
        [*PROGRAMS[sample["label"]], source],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return sample["label"], source, process


def test_what_a_sample_says_is_quoted_for_its_language(live_server):
    """An apostrophe, a dollar and a backslash in what is sent."""
    body = {"name": 'O\'Neill $HOME `id` \\ "Zoë" \u2028', "contacts": []}
    request = Sample("POST", "/v1/applications", {}, body, "OPENVOLT_PLATFORM_KEY")

    for sample in written(request):
        _, source, process = start(sample, "/v1/applications", live_server.url)
        said, complaint = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == 0, source + complaint
        assert json.loads(said)["name"] == body["name"]
