"""Keeps generated requests from revoking the key that they are sent with: everything after would be a 401."""

import os
from typing import Any
from uuid import uuid4

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if (
        case.path.startswith("/v1/api-keys/{id}")
        and case.path_parameters.get("id") == os.environ["FUZZ_KEY_ID"]
    ):
        case.path_parameters["id"] = str(uuid4())
