"""What the template of every family of C++ kernels is told, and the kernel that becomes of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from ..ir.plan import Plan
from ..ir.source import Source
from .cpp_beside import arguments
from .cpp_targets import VECTOR_BYTES
from .cpp_text import MARK, STORED, members, part, settings
from .environment import filled
from .print_cpp import Slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """Fields that every template reads.

    title:      one comment line about the kernel.
    arguments, arithmetic: the text of the headers of these names; of the first also what a call takes beside the pattern.
    real:       type that is computed in; stored: type of tensors in memory.
    block_k:    keys of a tile.
    lanes:      reals in a vector register.
    members, settings: declarations of what one (b, h) sees, and the statements that fill them in.
    functions:  `allowed` (the mask), `modified` (the score) and what else is made from the program.
    loops:      statements for every scheduled tile.
    entry:      name of the C function.
    """

    title: str
    arguments: str
    arithmetic: str
    real: str
    stored: str
    block_k: int
    head_dim: int
    value_dim: int
    lanes: int
    members: str
    settings: str
    functions: str
    loops: str
    entry: str


def told(plan: Plan, slots: Slots) -> dict[str, Any]:
    """The fields of `Kernel` that follow from the plan alike in every family."""
    real = "double" if plan.dtype == "f64" else "float"
    return {
        "arguments": arguments(plan),
        "arithmetic": part("arithmetic.h"),
        "real": real,
        "stored": STORED[plan.dtype],
        "head_dim": plan.head_dim,
        "value_dim": plan.value_dim,
        "lanes": VECTOR_BYTES[plan.target.name] // (8 if real == "double" else 4),
        "members": members(plan, slots),
        "settings": settings(plan, slots),
        "entry": MARK,
    }


def rendered(template: str, context: Kernel, name: str) -> Source:
    """The kernel of a context. Its function is called `lacuna_NAME_DIGEST`, after the digest of its text."""
    text = filled(template, asdict(context))
    entry = f"lacuna_{name}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return Source("c++", entry, text.replace(MARK, entry))
