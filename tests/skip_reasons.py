"""Why tests were skipped, counted: what stands below a run instead of a long row of `s`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

KINDS = (("LACUNA_TEST_PROFILE=prove", "full counts only, `make prove`"), ("GPU", "with a GPU only"))


def counted(reasons: Iterable[str]) -> list[str]:
    """A line for each reason, the most frequent first; those of the full counts together, and those that need a GPU."""
    kinds = Counter(_kind(reason.removeprefix("Skipped: ").strip() or "no reason") for reason in reasons)
    return [f"{count:5} {kind}" for kind, count in kinds.most_common()]


def _kind(reason: str) -> str:
    return next((kind for word, kind in KINDS if word in reason), reason)
