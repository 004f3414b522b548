"""The pages of the look-book: each email as HTML, text and `.eml`, its pictures, and an index of all."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from django.template import engines

from tests.lookbook.emails import Sample, samples
from tests.lookbook.pictures import VIEWS, photographed

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Emails</title>
<style>
body { margin: 0 auto; padding: 24px; max-width: 1900px; font: 16px/1.5 system-ui, sans-serif; color: #1c2126; }
section { margin: 0 0 56px; border-top: 1px solid #d9dfe5; }
.mailbox { font-size: 14px; } .mailbox span { color: #56616c; }
.views { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
figure { margin: 0; } figcaption { font-size: 13px; color: #56616c; }
img, iframe { border: 1px solid #d9dfe5; max-width: 100%; } iframe { width: 600px; height: 900px; }
</style>
</head>
<body>
<h1>Emails</h1>
<ol>{% for sample in samples %}
<li><a href="#{{ sample.name }}">{{ sample.name }}</a>: {{ sample.wording.subject }}</li>{% endfor %}
</ol>
{% for sample in samples %}<section id="{{ sample.name }}">
<h2>{{ sample.name }}</h2>
<p>{{ sample.about }} <a href="{{ sample.name }}.html">HTML</a> · <a href="{{ sample.name }}.txt">text</a> ·
<a href="{{ sample.name }}.eml">.eml</a></p>
<p class="mailbox"><strong>{{ sample.wording.subject }}</strong> <span>· {{ sample.first_line }}</span></p>
<div class="views">{% if pictures %}{% for view in views %}
<figure><figcaption>{{ view.name }}</figcaption>
<img src="{{ sample.name }}.{{ view.name }}.png" alt="{{ sample.name }}, {{ view.name }}"></figure>{% endfor %}
{% else %}<iframe src="{{ sample.name }}.html" title="{{ sample.name }}"></iframe>{% endif %}</div>
</section>{% endfor %}
</body>
</html>
"""


def write_book(directory: Path, only: str, *, pictures: bool) -> Path:
    """Write it all anew, and return the index."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    chosen = [sample for sample in samples() if only in sample.name]
    for sample in chosen:
        write_sample(directory, sample)
    taken = pictures and photographed(directory, [sample.name for sample in chosen])
    index = directory / "index.html"
    index.write_text(index_page(chosen, pictures=taken))
    return index


def write_sample(directory: Path, sample: Sample) -> None:
    (directory / f"{sample.name}.html").write_text(sample.wording.html)
    (directory / f"{sample.name}.txt").write_text(sample.wording.text)
    (directory / f"{sample.name}.eml").write_bytes(sample.content)


def index_page(chosen: Sequence[Sample], *, pictures: bool) -> str:
    template = engines["django"].from_string(INDEX)
    return str(template.render({"samples": chosen, "views": VIEWS, "pictures": pictures}))
