"""Everything a GPU can be asked, in order of value: `python benchmarks/gpu.py [--minutes N] [--results FILE] [--dry]`.

First the machine's own rates; then every family and form of kernels against float64, graphs, and grids in boxes; then ours beside
FlexAttention compiled and the fused kernels of SDPA, bfloat16, forward and backward; NATTEN's published problems beside dense attention,
with the share of their bound that they reach; decoding beside SDPA; what launches cost the host; forms beside each other. What was
measured is written to FILE after each step, with the seconds that the step took; what raises an error is wrong and does not end the run,
and a device that a kernel has broken is taken anew. A second run goes on where the first one stopped, unless the commit is another.
`--dry` does the same on the CPU, on small problems in Triton's interpreter, and prints what the kernels take of GPUs that are not here.

Needs what the tests need: pytest and hypothesis. FLOPs are counted in attended pairs: 4 D forward, 14 D forward and backward.
"""

# What JSON holds has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gpu_checks
import torch
from gpu_calls import call_checks, calls
from gpu_grids import grid_checks, grids
from gpu_timings import Bench, Result, Step, decoding, forms, machine, timings
from kernel_resources import resources

HERE = Path(__file__).resolve().parent

# -- correctness and the host -----------------------------------------------------------------------------------------


def checks(bench: Bench, *, first: bool) -> Iterator[Step]:
    """Families of kernels on the problems of the tests, in half precision and float32; with the first ones forms and graphs."""
    longest = 65 if bench.dry else 150
    if first and not bench.dry:
        yield Step("compile ahead", functools.partial(gpu_checks.compile_ahead, longest))
    for family, seeds in gpu_checks.batches(dry=bench.dry, first=first):
        run = functools.partial(gpu_checks.checked, bench.device, longest, family, seeds)
        yield Step(f"correct: {family} {seeds.start}..{seeds.stop - 1}", run)
    if first:
        for form, dim in gpu_checks.form_checks(dry=bench.dry):
            yield Step(f"correct: {form} D{dim}", functools.partial(gpu_checks.form_is_right, bench.device, dim, form))
        yield Step("correct: graphs", functools.partial(gpu_checks.graphs_are_right, bench.device))
        yield from call_checks(bench)
    yield from grid_checks(bench, first=first)


# -- one run ----------------------------------------------------------------------------------------------------------


def steps(bench: Bench) -> Iterator[Step]:
    """All there is to find out, in order of value; a dry run has each kind once."""
    yield Step("machine", lambda: machine(bench))
    yield from checks(bench, first=True)
    yield from timings(bench, 8192, 128)
    yield from grids(bench)
    yield from calls(bench)
    yield from decoding(bench)
    yield Step("host", lambda: gpu_checks.host(bench.device))
    yield from forms(bench, (8192, 128))
    if bench.dry:
        return
    yield from timings(bench, 8192, 64)
    yield from checks(bench, first=False)
    yield from timings(bench, 131072, 128)
    yield from forms(bench, (32768, 128), (8192, 64))
    for shape in ((32768, 128), (131072, 64), (32768, 64)):
        yield from timings(bench, *shape)


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def opened(path: Path) -> Result:
    """What an earlier run of the same commit left."""
    known = json.loads(path.read_text()) if path.exists() else {}
    return known if known.get("commit") == commit() else {"commit": commit(), "steps": {}}


def line(name: str, result: Result) -> str:
    return f"{name:48} {'  '.join(f'{key} {_short(value)}' for key, value in result.items())}"


def _short(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], float):
        return "{:.2f}x ({:.2f}..{:.2f})".format(*value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def taken(step: Step) -> Result:
    """What a step found, and how many seconds that took. An error is something found, too."""
    torch.manual_seed(0)
    start = time.perf_counter()
    try:
        found = step.run()
    except Exception as error:  # the other steps are worth as much
        found = {"wrong": [f"{type(error).__name__}: {error}"[:400]]}
    return {**found, "seconds": time.perf_counter() - start}


def survived() -> bool:
    """Whether the device still answers: after a fault in a kernel no call of this process succeeds."""
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "gpu.json")
    parser.add_argument("--dry", action="store_true", help="on the CPU, in Triton's interpreter; nothing is kept")
    options = parser.parse_args()
    bench = Bench("cpu" if options.dry else "cuda", options.dry)
    deadline = time.monotonic() + 60 * options.minutes
    results: Result = {"commit": commit(), "steps": {}} if options.dry else opened(options.results)
    if options.dry:
        print(*resources(), sep="\n")
    for step in steps(bench):
        if step.name in results["steps"] or time.monotonic() > deadline:
            continue
        results["steps"][step.name] = taken(step)
        print(line(step.name, results["steps"][step.name]), flush=True)
        if not options.dry:
            options.results.write_text(json.dumps(results, indent=1))
            if not survived():
                print(f"{step.name} has broken the device: the rest runs in a new process", flush=True)
                left = max(0.0, (deadline - time.monotonic()) / 60)
                os.execv(sys.executable, [sys.executable, __file__, "--minutes", f"{left:.2f}", "--results", f"{options.results}"])
    wrong = [name for name, result in results["steps"].items() if result.get("wrong")]
    sys.exit(f"wrong: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
