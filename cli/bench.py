"""`lacuna bench`: attention over a pattern beside SDPA with its mask, and beside the machine's own matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from .answers import Misuse
from .options import Batch, Grid, Heads, Json, KvLen, PatternName, QLen, Settings, looked_at, named
from .report import Fact, Facts, Listing, Part, show, show_json
from .terminal import counted
from .token_orders import Orders, orders_given

if TYPE_CHECKING:
    from .comparison import Comparison, Problem, Row

EXAMPLES = (
    "lacuna bench patterns.sliding_window --set window=64 --q-len 512 --rounds 3 --forward",
    "lacuna bench patterns.causal --q-len 512 --backend eager --rounds 3 --json",
)
TORCH_NAMES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "float64": "f64"}

KvHeads = Annotated[int | None, typer.Option("--kv-heads", min=1, help="key heads; as many as query heads where it is not given")]
Dim = Annotated[int, typer.Option("--dim", min=1, max=256, help="dimensions of a head")]
Dtype = Annotated[str, typer.Option("--dtype", help="f32, bf16, f16 or f64")]
Backend = Annotated[str | None, typer.Option("--backend", help="cpp, eager or triton; the default one where it is not given")]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="pairs of timings for each comparison")]
ForwardOnly = Annotated[bool, typer.Option("--forward", help="leave the backward pass out")]


@dataclass(frozen=True)
class Report:
    """What was timed on what, and how it went. shape: of the query; kv_shape: of key and value."""

    pattern: str
    shape: tuple[int, int, int, int]
    kv_shape: tuple[int, int, int, int]
    dtype: str
    backend: str
    device: str
    threads: int
    rounds: int
    found: Comparison


def command(
    pattern: PatternName,
    settings: Settings = None,
    grid: Grid = None,
    q_len: QLen = None,
    kv_len: KvLen = None,
    batch: Batch = 1,
    heads: Heads = 4,
    kv_heads: KvHeads = None,
    dim: Dim = 64,
    dtype: Dtype = "f32",
    backend: Backend = None,
    device: Device = "cpu",
    rounds: Rounds = 9,
    forward: ForwardOnly = False,
    order: Orders = None,
    as_json: Json = False,
) -> None:
    """Time a pattern beside SDPA with its mask, forward and backward.

    The two are run in turns, and so is a matrix product: a ratio is the median of those of the pairs, with the smallest and the largest.
    Work is counted in attended pairs, 4 operations each and dimension forward, 14 forward and backward. 2048 tokens where no length is
    given.
    """
    given = named(pattern, settings, grid)
    at = looked_at(given, q_len or (None if given.space.extents else 2048), kv_len)
    _check(_dtype(dtype), backend, device)
    from .comparison import DIRECTIONS, Problem, compare
    from .full_mask import Sizes

    sizes, wanted = Sizes(batch, heads, at.q_len, at.kv_len), orders_given(order, at.pattern, at.q_len, heads)
    problem = Problem(at.pattern, sizes, kv_heads or heads, dim, _dtype(dtype), backend, device, rounds, wanted)
    found = compare(problem, counted(DIRECTIONS[:1] if forward else DIRECTIONS, "timing"))
    report = _report(problem, found)
    if as_json:
        show_json(report)
    else:
        show(_parts(report))


def _dtype(text: str) -> str:
    return TORCH_NAMES.get(text, text)


def _check(dtype: str, backend: str | None, device: str) -> None:
    from ..runtime.process.settings import BACKENDS

    choices = (("--dtype", dtype, tuple(TORCH_NAMES.values())), ("--backend", backend, BACKENDS), ("--device", device, ("cpu", "cuda")))
    for option, value, allowed in choices:
        if value is not None and value not in allowed:
            raise Misuse(f"`{option} {value}` is none of {', '.join(allowed)}", f"`{option} {allowed[0]}`")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise Misuse("`--device cuda`, and torch sees no GPU", "`--device cpu`; `lacuna doctor` says what is missing")


def _report(problem: Problem, found: Comparison) -> Report:
    import torch

    from ..runtime.calls.backend_of import default
    from ..runtime.compilers.cpu import processor_name

    sizes = problem.sizes
    return Report(
        pattern=repr(problem.pattern),
        shape=(sizes.batch, sizes.heads, sizes.q_len, problem.dim),
        kv_shape=(sizes.batch, problem.kv_heads, sizes.kv_len, problem.dim),
        dtype=problem.dtype,
        backend=problem.backend or default(problem.device),
        device=processor_name() if problem.device == "cpu" else torch.cuda.get_device_name(),
        threads=torch.get_num_threads(),
        rounds=problem.rounds,
        found=found,
    )


# -- as text ----------------------------------------------------------------------------------------------------------


def _parts(report: Report) -> list[Part]:
    found = report.found
    facts = [
        Fact("pattern", report.pattern),
        Fact("query, key", f"{list(report.shape)}, {list(report.kv_shape)} {report.dtype}"),
        Fact("on", f"{report.device}, backend {report.backend}, {report.threads} threads"),
        Fact("attended pairs", f"{found.live_pairs}, density {found.density:.4f}"),
        Fact("first call", f"{found.first_ms:.0f} ms, compilation included where it was not in the cache"),
        Fact("beside SDPA", _agreement(found), "" if found.left_out else "good"),
    ]
    header = ("", "ms", "GFLOP/s", "share of a matrix product", "beside", "its ms", "its time / ours")
    rows = [line for row in found.rows for line in _lines(row)]
    return [Facts(f"medians of {report.rounds} pairs; ratios with the smallest and the largest", facts), Listing(header, rows)]


def _agreement(found: Comparison) -> str:
    return f"left out: {found.left_out}" if found.left_out else f"outputs differ by at most {found.difference:.1e}"


def _lines(row: Row) -> list[tuple[str, ...]]:
    ours = (row.direction, f"{row.ms:.2f}", f"{row.gflops:.0f}", str(row.share))
    peers = [(peer.name, f"{peer.ms:.2f}", str(peer.ratio)) for peer in row.peers] or [("", "", "")]
    return [(*(ours if at == 0 else ("",) * len(ours)), *peer) for at, peer in enumerate(peers)]
