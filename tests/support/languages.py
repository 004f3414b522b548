"""The languages that docs/webhooks.md has code for: what runs it here, and a driver that hands it webhooks.

A driver reads one webhook a line (secret, id, timestamp, signature, the body in base64, with tabs between them) and
writes `genuine` or `refused` for each, as the page's `verify` says.
`python -m tests.support.languages` installs what is missing: JavaScript's libraries, PHP and Ruby.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.browser import run_quietly
from tests.support.running import REPOSITORY

DECLARED = REPOSITORY / "tests" / "javascript"
DECLARED_LOCK = DECLARED / "package-lock.json"
INSTALLED = REPOSITORY / ".venv" / "javascript"
LIBRARIES = ("standardwebhooks", "svix")
PACKAGES = {"php": "php-cli", "ruby": "ruby"}  # of Debian, small enough to be installed for a few tests
RUN_SECONDS = 120


@dataclass(frozen=True)
class Language:
    """`heading` and `fence` find its code in the page; `commands` run in a directory with that and the driver."""

    heading: str
    fence: str
    needs: tuple[str, ...]
    receiver: str
    files: dict[str, str]
    commands: Sequence[Sequence[str]]

    def missing(self) -> str | None:
        """The first program that is not here."""
        return next((program for program in self.needs if not shutil.which(program)), None)

    def judge(self, directory: Path, code: str, webhooks: str) -> list[str]:
        """What this `verify` says of each webhook."""
        for name, content in {**self.files, self.receiver: code}.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(content)
        said = ""
        for command in self.commands:
            said = run(command, directory, webhooks)
        return said.split()


def run(command: Sequence[str], directory: Path, given: str) -> str:
    """Go wants a place for what it has compiled; the other programs don't care."""
    environment = os.environ | {"GOCACHE": str(directory / "compiled"), "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


PYTHON = Language(
    "Python",
    "python",
    (),
    "receiver.py",
    {
        "driver.py": """
import sys
from base64 import b64decode
from receiver import verify

for line in sys.stdin:
    secret, id, timestamp, signature, body = line.rstrip("\\n").split("\\t")
    headers = {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    try:
        assert verify(secret, headers, b64decode(body))["delivery_id"] == id
        print("genuine")
    except Exception:
        print("refused")
"""
    },
    [[sys.executable, "driver.py"]],
)

NODE = Language(
    "Node",
    "js",
    ("node",),
    "receiver.mjs",
    {
        "driver.mjs": """
import { readFileSync } from "node:fs";
import { verify } from "./receiver.mjs";

for (const line of readFileSync(0, "utf8").trimEnd().split("\\n")) {
  const [secret, id, timestamp, signature, body] = line.split("\\t");
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
  try {
    console.log(verify(secret, headers, Buffer.from(body, "base64")).delivery_id === id ? "genuine" : "wrong");
  } catch {
    console.log("refused");
  }
}
"""
    },
    [["node", "driver.mjs"]],
)

GO = Language(
    "Go",
    "go",
    ("go",),
    "receiver/receiver.go",
    {
        "go.mod": "module receivers\n\ngo 1.19\n",
        "main.go": """
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"

	"receivers/receiver"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		given := strings.Split(lines.Text(), "\\t")
		headers := http.Header{}
		headers.Set("webhook-id", given[1])
		headers.Set("webhook-timestamp", given[2])
		headers.Set("webhook-signature", given[3])
		body, _ := base64.StdEncoding.DecodeString(given[4])
		if receiver.Verify(given[0], headers, body) == nil {
			fmt.Println("genuine")
		} else {
			fmt.Println("refused")
		}
	}
}
""",
    },
    [["go", "run", "."]],
)

CSHARP = Language(
    "C#",
    "csharp",
    ("mcs", "mono"),
    "Receiver.cs",
    {
        "Driver.cs": """
using System;
using System.Net;

public static class Driver
{
    public static void Main()
    {
        for (string line; (line = Console.ReadLine()) != null;)
        {
            var given = line.Split('\\t');
            var headers = new WebHeaderCollection();
            headers["webhook-id"] = given[1];
            headers["webhook-timestamp"] = given[2];
            headers["webhook-signature"] = given[3];
            try
            {
                Receiver.Verify(given[0], headers, Convert.FromBase64String(given[4]));
                Console.WriteLine("genuine");
            }
            catch (Exception)
            {
                Console.WriteLine("refused");
            }
        }
    }
}
"""
    },
    [["mcs", "-out:driver.exe", "Driver.cs", "Receiver.cs"], ["mono", "driver.exe"]],
)

PHP = Language(
    "PHP",
    "php",
    ("php",),
    "receiver.php",
    {
        "driver.php": r"""<?php
require 'receiver.php';
while (($line = fgets(STDIN)) !== false) {
    [$secret, $id, $timestamp, $signature, $body] = explode("\t", rtrim($line, "\n"));
    $headers = ['webhook-id' => $id, 'webhook-timestamp' => $timestamp, 'webhook-signature' => $signature];
    try {
        echo verify($secret, $headers, base64_decode($body))['delivery_id'] === $id ? "genuine\n" : "wrong\n";
    } catch (Throwable $refused) {
        echo "refused\n";
    }
}
"""
    },
    [["php", "driver.php"]],
)

RUBY = Language(
    "Ruby",
    "ruby",
    ("ruby",),
    "receiver.rb",
    {
        "driver.rb": """
require_relative "receiver"

$stdin.each_line(chomp: true) do |line|
  secret, id, timestamp, signature, body = line.split("\\t", -1)
  headers = { "webhook-id" => id, "webhook-timestamp" => timestamp, "webhook-signature" => signature }
  begin
    puts verify(secret, headers, body.unpack1("m0"))["delivery_id"] == id ? "genuine" : "wrong"
  rescue StandardError
    puts "refused"
  end
end
"""
    },
    [["ruby", "driver.rb"]],
)

LANGUAGES = [PYTHON, NODE, GO, CSHARP, PHP, RUBY]


def has_javascript() -> bool:
    """Node, and the libraries that the lock file names."""
    lock = INSTALLED / DECLARED_LOCK.name
    is_current = lock.exists() and lock.read_bytes() == DECLARED_LOCK.read_bytes()
    there = all((INSTALLED / "node_modules" / name).is_dir() for name in LIBRARIES)
    return bool(shutil.which("node")) and is_current and there


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where JavaScript's libraries are. Skips the test where they can't be had; in CI fails it."""
    if not has_javascript():
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(
            "Node or its libraries are not here: python -m tests.support.languages says why they can't be had."
        )
    return INSTALLED / "node_modules"


def install_javascript() -> None:
    """As the lock file says. Into the virtual environment's directory, with which they go away."""
    shutil.copytree(DECLARED, INSTALLED, dirs_exist_ok=True)
    command = ["npm", "ci", "--prefix", str(INSTALLED), "--no-audit", "--no-fund", "--ignore-scripts"]
    print(f"Installing JavaScript's libraries for tests (once): {' '.join(command)} …", flush=True)
    run_quietly(command)


def install_packages(names: Sequence[str]) -> None:
    """The system's, when we may."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    for command in (["apt-get", "update"], install):
        print(f"Installing languages for tests of docs/webhooks.md (once): {' '.join(command)} …", flush=True)
        run_quietly(command)


if __name__ == "__main__":
    if shutil.which("npm") and not has_javascript():
        install_javascript()
    if not has_javascript():
        print(
            "Node and npm can't be had here (install them); tests with JavaScript will be reported as skipped."
        )
    if absent := [package for program, package in PACKAGES.items() if not shutil.which(program)]:
        install_packages(absent)
    for language in LANGUAGES:
        if language.missing():
            print(f"Without {language.missing()}, the {language.heading} in docs/webhooks.md is not run.")
