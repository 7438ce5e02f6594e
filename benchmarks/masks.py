"""Which masks the compiler accepts, and what deriving their schedules costs.

    python benchmarks/masks.py [--check | --scale] [--json FILE]

--check compares every tile with brute force at small extents. --scale derives at 1,048,576 tokens. Times are medians of 5
fresh derivations, on tiles of 128 x 64 (8 x 4 with --check).
"""

# The library that makes patterns from plain functions is partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from coverage_masks import Mask, coverage, on_grids, one_dimensional, small, video_neighborhood, with_tables
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import Derivation, derive
from lacuna.passes.schedules.tile_classes import tile_row, tiles
from lacuna.runtime.launches.term_arrays import term_arrays
from lacuna.runtime.request.materialise import parameters, tables

TOKENS = 1 << 20
REPEATS = 5
PATIENCE = 2.0  # seconds after which a derivation is not repeated: it misses its limit anyway


@dataclass(frozen=True)
class Row:
    """What one mask came to. `refused` is the message where it is not accepted; `wrong` counts tiles that differ from brute force."""

    name: str
    affine: bool
    refused: str = ""
    route: str = ""
    exact: bool = False
    closed_form: bool = False
    points: int = 0
    boxes: int = 0
    milliseconds: float = 0.0
    slowest: float = 0.0
    empty: int = 0
    partial: int = 0
    full: int = 0
    grown_mb: float = 0.0
    wrong: int | None = None


def launch_of(mask: Mask) -> Launch:
    program, bindings = mask.pattern.program, mask.pattern.bindings
    arrays = {name: each.numpy() for name, each in tables(program, bindings, max(mask.q_len, mask.k_len)).items()}
    return Launch(mask.q_len, mask.k_len, heads=mask.heads, parameters=parameters(program, bindings), tables=arrays)


def row_of(mask: Mask, block: tuple[int, int], *, whole: bool = True, check: bool = False) -> Row:
    """Derive five times; then classify every tile, or only three rows of tiles where `whole` is false."""
    try:
        launch = launch_of(mask)
        found, times, grown = _timed(mask, block, launch)
    except (ValueError, TypeError, NotImplementedError) as error:
        return Row(mask.name, mask.affine, refused=str(error).splitlines()[0])
    schedule = found.schedule
    arrays = {**found.arrays, **term_arrays(schedule, launch)}
    rows = -(-mask.q_len // block[0])
    chosen = [tiles(schedule, launch, arrays, 0, h) for h in range(mask.heads)] if whole else []
    chosen = chosen or [tile_row(schedule, launch, arrays, (0, 0, i)) for i in (0, rows // 2, rows - 1)]
    counts = np.bincount(np.concatenate(chosen).ravel(), minlength=3)
    return Row(
        name=mask.name,
        affine=mask.affine,
        route=schedule.route,
        exact=schedule.exact,
        closed_form=schedule.closed_form,
        points=schedule.counters.point_evaluations,
        boxes=schedule.counters.boxes,
        milliseconds=statistics.median(times) * 1e3,
        slowest=max(times) * 1e3,
        empty=int(counts[0]),
        partial=int(counts[1]),
        full=int(counts[2]),
        grown_mb=grown,
        wrong=_wrong(mask, launch, block, chosen, exact=schedule.exact) if check else None,
    )


def _timed(mask: Mask, block: tuple[int, int], launch: Launch) -> tuple[Derivation, list[float], float]:
    """The derivation, the seconds of each of five, and the megabytes by which the resident set grew."""
    before, times = _resident_mb(), list[float]()
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = derive(mask.pattern.program, *block, launch)
        times.append(time.perf_counter() - start)
        if times[-1] > PATIENCE:
            break
    return found, times, _resident_mb() - before  # pyright: ignore[reportPossiblyUnboundVariable] (REPEATS is not 0)


def _resident_mb() -> float:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else math.nan


def _wrong(mask: Mask, launch: Launch, block: tuple[int, int], got: Sequence[np.ndarray], *, exact: bool) -> int:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    # The tests' evaluator, which shares no helper with the passes.
    from brute_force import Problem, classes, dense  # pyright: ignore[reportMissingImports]

    values = {name: int(value) for name, value in launch.parameters.items()}
    problem = Problem(mask.pattern.program.mask, mask.q_len, mask.k_len, 0, values, launch.tables)
    wrong = 0
    for h, found in enumerate(got):
        want = classes(dense(problem, 0, h), *block)
        unsound = ((found == 0) & (want != 0)) | ((found == 2) & (want != 2))
        wrong += int((found != want).sum() if exact else unsound.sum())
    return wrong


def within_points(row: Row, block: tuple[int, int]) -> bool:
    """No point is evaluated for an affine mask, and few at the boundary of others."""
    return row.points <= (0 if row.affine else 8 * sum(block) * row.partial)


def report(rows: Sequence[Row], block: tuple[int, int]) -> None:
    print(f"{'mask':26}{'route':10}{'exact':6}{'closed':7}{'points':>8}{'boxes':>9}{'ms':>9}{'empty':>9}{'partial':>8}{'full':>7}  wrong")
    for row in rows:
        if row.refused:
            print(f"{row.name:26}refused: {row.refused}")
            continue
        flags = f"{row.route:10}{'yes' if row.exact else 'no':6}{'yes' if row.closed_form else 'no':7}{row.points:8}{row.boxes:9}"
        wrong = "" if row.wrong is None else row.wrong
        print(f"{row.name:26}{flags}{row.milliseconds:9.1f}{row.empty:9}{row.partial:8}{row.full:7}  {wrong}")
    accepted = [row for row in rows if not row.refused]
    both = sum(row.exact and row.closed_form for row in accepted)
    few = sum(within_points(row, block) for row in accepted)
    print(f"{len(accepted)} of {len(rows)} accepted, {both} exact and in closed form, {few} within the bound on point evaluations")
    print(f"slowest single derivation {max((row.slowest for row in accepted), default=0):.0f} ms; ", end="")
    print(f"resident set grew by at most {max((row.grown_mb for row in accepted), default=0):.1f} MB")


def scaled() -> list[Mask]:
    grids = on_grids(1024, 1024, (64, 128, 128))
    kept = ("NATTEN 2-D flat", "NATTEN 2-D tiled", "sliding tile 2-D", "sliding tile 3-D", "SVG spatial", "SVG temporal", "raw 2-D window")
    return [
        *one_dimensional(TOKENS),
        *with_tables(TOKENS),
        *(mask for mask in grids if mask.name in kept),
        video_neighborhood(64, 128, 128),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare every tile with brute force, at small extents")
    parser.add_argument("--scale", action="store_true", help="derive at 1,048,576 tokens; three rows of tiles are counted")
    parser.add_argument("--json", type=Path, help="write the rows there")
    chosen = parser.parse_args()
    block = (8, 4) if chosen.check else (128, 64)
    masks = small() if chosen.check else scaled() if chosen.scale else coverage()
    derive(masks[0].pattern.program, *block, launch_of(masks[0]))  # loads the integer set library
    rows = [row_of(mask, block, whole=not chosen.scale, check=chosen.check) for mask in masks]
    report(rows, block)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.refused or row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
