"""`lacuna build`: kernels ahead of time, as a folder that runs where there is no compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..ir.pattern import Pattern
from .answers import Misuse
from .options import Grid, Json, Settings, named, numbers
from .report import Text, show, show_json
from .setting import setting
from .terminal import counting
from .token_orders import Orders, orders_given

if TYPE_CHECKING:
    from ..runtime.bundles.spec import KernelSpec

EXAMPLES = (
    "lacuna build patterns.sliding_window --set window=256 --dtype f32 --rows few --pass forward -o window-bundle",
    "lacuna build --program 'program @now(q < Lq, k < Lk) { mask = k <= q score = s normalise = softmax }'"
    " --rows few --pass forward -o t --json",
)

Specification = Annotated[
    str | None,
    typer.Argument(
        metavar="[SPEC]",
        help="a Python file or module that lists `kernels`, and perhaps `targets`; or a pattern as other commands name one",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="the new folder")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", help="`cpu` for this machine, `cpu:avx512`, `cpu:avx2`, `cpu:neon`, `sm_80`, `sm_90`, `sm_100`, `gfx942`, `gfx950`"
    ),
]
ProgramText = Annotated[str | None, typer.Option("--program", metavar="TEXT", help="the text of a program instead of SPEC")]
Dtypes = Annotated[list[str] | None, typer.Option("--dtype", help="`f32`, `bf16`, `f16` or `f64`; bf16 where it is not given")]
HeadDims = Annotated[list[str] | None, typer.Option("--head-dim", metavar="DxDv", help="64 where it is not given; `192x128`")]
Passes = Annotated[list[str] | None, typer.Option("--pass", help="`forward` or `backward`; both where it is not given")]
Rows = Annotated[list[str] | None, typer.Option("--rows", help="query rows: `long`, `short` (17 to 32), `few` (at most 16)")]
Offsets = Annotated[bool, typer.Option("--offsets", help="calls of more than 16 rows may have a `q_offset`")]
RaggedItems = Annotated[bool, typer.Option("--ragged/--uniform", help="lengths may differ between batch items")]
Extent = Annotated[int, typer.Option(min=1, help="where the pattern divides by what differs between them")]
KvHeads = Annotated[int | None, typer.Option("--kv-heads", min=1, help="key heads, where --order says one for each of --heads")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="processes; one for each core where it is not given")]
Replace = Annotated[bool, typer.Option("--replace", help="put the bundle in place of one that is there")]

ANY_LENGTH = 4096


@dataclass(frozen=True)
class Made:
    folder: str
    kernels: int
    bytes: int
    targets: tuple[str, ...]


def command(
    spec: Specification = None,
    out: Out = Path("bundle"),
    targets: Targets = None,
    program: ProgramText = None,
    settings: Settings = None,
    grid: Grid = None,
    dtypes: Dtypes = None,
    head_dims: HeadDims = None,
    passes: Passes = None,
    rows: Rows = None,
    offsets: Offsets = False,
    ragged: RaggedItems = True,
    batch: Extent = 1,
    heads: Extent = 1,
    kv_heads: KvHeads = None,
    order: Orders = None,
    jobs: Jobs = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Build kernels into a folder that `lacuna.load` and programs in C take, on machines without a compiler.

    No GPU is needed to build for one. Options from --set to --order are for a pattern or --program; a SPEC file says these itself.
    """
    from ..runtime.bundles.build import build

    fields: dict[str, Any] = {"dtypes": dtypes, "passes": passes, "rows": rows}
    chosen: dict[str, Any] = {name: tuple(value) for name, value in fields.items() if value}
    if head_dims:
        chosen["head_dims"] = tuple(_dims(text) for text in head_dims)
    chosen |= {
        name: value
        for name, value, usual in (("offsets", offsets, False), ("batch", batch, 1), ("heads", heads, 1), ("kv_heads", kv_heads, None))
        if value != usual
    }
    chosen |= {"order": order} if order else {}
    chosen |= {} if ragged else {"ragged": False}
    given = _given(spec, program, (settings, grid), chosen)
    with counting(f"building {out}") as progress:
        made = build(given, out, targets=targets, progress=progress, processes=jobs, replace=replace)
    found = Made(str(out), made.kernels, made.size_bytes, made.targets)
    if as_json:
        show_json(found)
    else:
        show([Text(f"{out}: {made.kernels} kernels for {', '.join(made.targets)}, {made.size_bytes / 1e6:.1f} MB")])


def _given(
    spec: str | None, program: str | None, meant: tuple[list[str] | None, str | None], chosen: Mapping[str, Any]
) -> str | KernelSpec:
    from ..ir.parse import parse_program
    from ..runtime.bundles.spec import KernelSpec

    settings, grid = meant
    if (spec is None) == (program is None):
        raise Misuse("a bundle is built of SPEC or of --program, and there are both or neither", "one of them")
    if program is not None:
        return KernelSpec(program, values=dict(map(setting, settings or [])), **_in_order(Pattern.of(parse_program(program)), chosen))
    assert spec is not None
    if not _names_a_pattern(spec):
        if chosen or settings or grid:
            raise Misuse(f"`{spec}` lists its kernels itself, and options say others", "them in its `KernelSpec`s")
        return spec
    pattern = named(spec, settings, grid)
    return KernelSpec(pattern, **_in_order(pattern, chosen))


def _in_order(pattern: Pattern, chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields with the order that the options say; off grids it stands for one of any length."""
    if "order" not in chosen:
        return chosen
    heads: int = chosen.get("heads", 1)
    return {**chosen, "order": orders_given(chosen["order"], pattern, pattern.space.tokens("q") or ANY_LENGTH, heads)}


def _names_a_pattern(spec: str) -> bool:
    if spec == "-" or spec.startswith("patterns.") or ":" in spec:
        return True
    return Path(spec).is_file() and not spec.endswith(".py")


def _dims(text: str) -> int | tuple[int, int]:
    found = numbers("--head-dim", text, 2) if "x" in text else numbers("--head-dim", text, 1)
    return found[0] if len(found) == 1 else (found[0], found[1])
