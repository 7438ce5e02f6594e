"""The Jinja environment of every template: strict, and given finished text only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)
NO_LINE = "<no line>"
"""What fills a hole that stands alone on its line where the line is left out."""


def filled(template: str, context: Mapping[str, object]) -> str:
    """The text of a template, without the lines that say NO_LINE."""
    text = ENVIRONMENT.get_template(template).render(context)
    return "\n".join(line for line in text.split("\n") if line.strip() != NO_LINE)
