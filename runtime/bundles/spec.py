"""What a bundle is to hold: patterns, dtypes, dimensions and the calls that they are promised for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...ir.advice import advice
from ...ir.pattern import Pattern
from ...ir.target import Target
from ..process.user_module import module_given
from ..request.head_orders import OrderGiven, OrdersOfHeads, asked
from ..request.request import MOST_DIMENSIONS, NAMES

if TYPE_CHECKING:
    from ...ir.score import Score

PASSES = ("forward", "backward")
ROWS = ("long", "short", "few")
CPU_TARGETS = ("avx512bf16", "avx512", "avx2", "neon", "generic")
GPU_TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942", "gfx950")
TARGETS = (*(f"cpu:{name}" for name in CPU_TARGETS), *GPU_TARGETS)
DTYPES = tuple(NAMES.values())


@dataclass(frozen=True)
class KernelSpec:
    """One pattern, and the calls of it that a bundle promises to serve without a compiler.

    pattern:   with its parameters bound, or the text of a program; None is dense. Values of parameters are no part of the promise
               unless they divide or multiply a position.
    score:     what becomes of a score.
    dtypes:    of `f32 bf16 f16 f64`.
    head_dims: D, or (D, Dv) where the values have another dimension than query and key.
    passes:    `forward`, `backward`, or both. Gradients of tables: of none, or of every float table of the score.
    rows:      query rows of a call: `long` is more than 32, `short` 17 to 32, `few` at most 16. The backward pass of all is the same.
    offsets:   whether `q_offset` may be other than 0 in calls of more than 16 rows; those of fewer serve every offset.
    ragged:    whether lengths and offsets may differ between batch items, packed sequences included.
    batch, heads: extents, where the pattern divides a position by something that differs between them.
    order:     that calls ask for, as `order=` of `lacuna.attention` has it; tables of tokens are no part of the promise. Beside it calls
               have all rows, no lengths and no offset.
    kv_heads:  where `order` has one for each of `heads`; None is as many.
    values:    of a program given as text: its parameters that divide or multiply a position, and the tables that do.

    Raises:
        TypeError, ValueError: a field has no such value; the message says what to write.
    """

    pattern: Pattern | str | None = None
    score: Score | None = None
    dtypes: tuple[str, ...] = ("bf16",)
    head_dims: tuple[int | tuple[int, int], ...] = (64,)
    passes: tuple[str, ...] = PASSES
    rows: tuple[str, ...] = ROWS
    offsets: bool = False
    ragged: bool = True
    batch: int = 1
    heads: int = 1
    order: OrderGiven = None
    kv_heads: int | None = None
    values: Mapping[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        given = self.pattern
        if not (given is None or isinstance(given, Pattern | str)):  # pyright: ignore[reportUnnecessaryIsInstance]  (not every caller is typed)
            raise TypeError(advice(f"`pattern` is a {type(given).__name__}", "the result of `@lacuna.pattern`, or the text of a program"))
        if isinstance(given, str) and self.score is not None:
            raise TypeError(advice("`pattern` is the text of a program, which holds its score", "the score in the text"))
        for name, allowed in (("dtypes", DTYPES), ("passes", PASSES), ("rows", ROWS)):
            _check_choices(name, getattr(self, name), allowed)
        if not self.head_dims or any(not 1 <= dim <= MOST_DIMENSIONS for pair in self.dims for dim in pair):
            raise ValueError(advice(f"`head_dims` is {self.head_dims!r}", f"numbers of 1 to {MOST_DIMENSIONS}, or pairs of them"))
        self._check_heads()

    def _check_heads(self) -> None:
        """Raise unless there is an order for each head, or one for all, and key heads that they can share."""
        given = asked(self.order, self.heads)
        if isinstance(given, OrdersOfHeads) and len(given.orders) != self.heads:
            wrong = f"`order` has {len(given.orders)} orders, and there are {self.heads} `heads`"
            raise ValueError(advice(wrong, f"`heads={len(given.orders)}`, or one order for each head"))
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise ValueError(advice(f"{self.heads} query heads cannot share {self.kv_heads} key heads evenly", "a divisor of `heads`"))

    @property
    def dims(self) -> tuple[tuple[int, int], ...]:
        """(D, Dv) of each."""
        return tuple(each if isinstance(each, tuple) else (each, each) for each in self.head_dims)


def _check_choices(name: str, given: object, allowed: Sequence[str]) -> None:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given or not set(cast("Sequence[object]", given)) <= set(allowed):
        raise ValueError(advice(f"`{name}` is {given!r}", f"some of {allowed!r}"))


# -- targets ----------------------------------------------------------------------------------------------------------


def target_named(name: str) -> Target:
    """The target that `name` stands for: `cpu` is that of this machine.

    Raises:
        ValueError: there is none.
    """
    if name == "cpu":
        from ..compilers.cpp_compiler import cpu_target

        return cpu_target()
    if name not in TARGETS:
        raise ValueError(advice(f"there is no target {name!r}", f"`cpu` for this machine, or one of {', '.join(TARGETS)}"))
    backend, _, of_cpu = name.partition(":")
    return Target("cpp", of_cpu) if backend == "cpu" else Target("triton", name)


def name_of(target: Target) -> str:
    return f"cpu:{target.name}" if target.backend == "cpp" else target.name


# -- specifications ---------------------------------------------------------------------------------------------------

Given = str | Path | KernelSpec | Iterable[KernelSpec]


@dataclass(frozen=True)
class Specification:
    """kernels: of the bundle.   targets: that its author listed; empty where there is no such list."""

    kernels: tuple[KernelSpec, ...]
    targets: tuple[str, ...] = ()


def specification(given: Given) -> Specification:
    """The specification that `given` is, or that a Python file or module of this name holds as `kernels`, and perhaps `targets`.

    The file is run: build what you trust.

    Raises:
        ValueError: it lists no kernels, or fails while it is run.
        FileNotFoundError: there is no such file.
    """
    if isinstance(given, KernelSpec):
        return Specification((given,))
    if not isinstance(given, str | Path):
        return _checked(tuple(given), (), "the call")
    module = module_given(str(given))
    kernels, targets = getattr(module, "kernels", ()), getattr(module, "targets", ())
    listed = (kernels,) if isinstance(kernels, KernelSpec) else tuple(kernels)
    return _checked(listed, (targets,) if isinstance(targets, str) else tuple(targets), f"`{given}`")


def _checked(kernels: tuple[object, ...], targets: tuple[str, ...], where: str) -> Specification:
    found = tuple(each for each in kernels if isinstance(each, KernelSpec))
    if not found or len(found) != len(kernels):
        raise ValueError(advice(f"{where} lists no kernels", "`kernels = [lacuna.KernelSpec(pattern, dtypes=('bf16',)), ...]`"))
    return Specification(found, targets)
