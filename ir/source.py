"""The fourth noun: a kernel's text and how to call it."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """Rendered text. Two equal texts are one kernel.

    language: `c++` or `python` (Triton).
    entry:    the function to call: a readable name and a digest of the text.
    """

    language: str
    entry: str
    text: str
