"""The form of every message to users."""

from __future__ import annotations


def advice(what: str, write: str) -> str:
    """What happened, to which thing; on the next line what to write instead."""
    return f"{what}.\n  write {write}"
