"""`make emails`: render every email to var/emails, and photograph each as mail programs show it."""

import argparse
import os
from importlib import import_module
from pathlib import Path

import django

VAR = Path(__file__).resolve().parent.parent.parent / "var" / "emails"
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "openvolt_events.settings",
    "DEBUG": "1",
    "EMAIL_URL": "memory:",
    "PUBLIC_URL": "https://events.example",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make emails", description=__doc__)
    parser.add_argument("--to", type=Path, default=VAR, help="the directory to write to (var/emails)")
    parser.add_argument("--only", default="", help="only emails whose name has this in it")
    parser.add_argument(
        "--without-pictures", action="store_true", help="no browser: HTML, text and .eml alone"
    )
    options = parser.parse_args()
    os.environ.update(SETTINGS)
    django.setup()
    book = import_module("tests.lookbook.book")  # it reads the settings
    print(f"Look at {book.write_book(options.to, options.only, pictures=not options.without_pictures)}")


if __name__ == "__main__":
    main()
