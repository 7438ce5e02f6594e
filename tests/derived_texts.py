"""What many derivations end in, in one process: `python tests/derived_texts.py COUNT ORDER [slow] [plain]`.

Prints a JSON object from the name of a problem to the digest of the text of its kernel, or of its schedule. COUNT: of random programs;
0: only ALONE, many times. ORDER seeds the order in which problems are derived and what else lies in memory; every third problem is
derived twice. slow: clocks run so fast that nothing seems to be done in time. plain: the library's own `coalesce`, which is a fault.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import islpy as isl
import lacuna
from lacuna import patterns
from lacuna.codegen import cpp, cpp_backward, triton, triton_backward
from lacuna.ir.parse import parse_program
from lacuna.ir.pattern import Pattern
from lacuna.ir.plan import Plan
from lacuna.ir.program import Program
from lacuna.ir.target import Target
from lacuna.passes.program.call_values import Launch
from lacuna.passes.schedules.derive import derive
from lacuna.passes.schedules.lower import backward_plan_of, plan_of
from lacuna.passes.schedules.prepare import prepare
from lacuna.passes.schedules.transposed_schedule import transposed_schedule
from lacuna.passes.sets import integer_sets
from random_programs import random_case

ALONE = 276  # of its basic sets, plain coalescing makes other ones every second time
BLOCKS = ((64, 32), (16, 16), (128, 64))
CPP, TRITON = Target("cpp", "generic"), Target("triton", "sm_90")
SCORED = """program @scored(q < Lq, k < Lk; cap: f64, slopes: f32[*], bias: f32[*]) {
  mask = k <= q and (q - k < 100 or k % 24 < 2)
  score = cap * tanh((s + slopes[h] * float(k - q)) / cap) + bias[k % 7]
  normalise = softmax
}"""
Derived = Callable[[], str]


@lacuna.pattern
def unseen(q: Any, k: Any, *, reach: Any) -> Any:  # noqa: ANN401
    return (k <= q) & ((q // 48 == k // 48) | (k % 24 < 2) | (abs(q - 2 * k) <= reach))


def catalogue() -> Iterator[tuple[str, Pattern, int]]:
    """Patterns of every kind, and a length."""
    grid = (16, 32)
    yield "unseen", unseen(reach=5), 200
    yield "causal", patterns.causal(), 1000
    yield "sliding_window", patterns.sliding_window((128, 128)), 1000
    yield "s2_local_stride", patterns.s2_local_stride(4, local_blocks=4), 512
    yield "gna", patterns.gna(grid, (7, 9), (3, 2), (2, 1), (False, True)), 512
    yield "neighborhood", patterns.neighborhood(7, stride=2, dilation=3), 700
    yield "dilated", patterns.dilated_neighborhood(5, (2, 4), length=grid), 512
    yield "halo", patterns.halo(grid, 8, 3), 512
    yield "radial", patterns.radial(4, 64, block=32), 256
    yield "torus_window", patterns.torus_window(grid, 8, 4), 512
    yield "long_short_distance", patterns.long_short_distance(grid, 4, 4), 512
    yield "modality_mutual", patterns.modality_mutual((64, 200), (200, 300)), 512
    yield "item_local", patterns.item_local(4), 300
    yield "neighboring_ar", patterns.neighboring_ar(grid), 512
    yield "disc_local", patterns.disc_local((8, 16), 4, text=7, pool=4), 167


def forward(program: Program, launch: Launch, block: tuple[int, int]) -> str:
    plan = plan_of(derive(program, *block, launch).schedule, CPP, "f32", (32, 32))
    return cpp.render(plan).text + triton.render(replace(plan, target=TRITON)).text


def backward(program: Program, launch: Launch, block: tuple[int, int]) -> str:
    schedule = transposed_schedule(prepare(program, launch, shifted=False), block, launch)
    plan: Plan = backward_plan_of(schedule, CPP, "f32", (32, 32), ("bias",))
    return cpp_backward.render(plan).text + triton_backward.render_keys(replace(plan, target=TRITON)).text


def problems(count: int) -> Iterator[tuple[str, Derived]]:
    if not count:
        alone = of_case(ALONE)
        yield from ((f"case {ALONE} again", alone) for _ in range(12))
        return
    every = list(catalogue())
    for name, pattern, length in every if count > 100 else every[::2]:
        parameters = {"reach": 5} if name == "unseen" else {symbol.name: 7 for symbol in pattern.program.parameters}
        launch = Launch(length, length, heads=4, parameters=parameters)
        for at, block in enumerate(BLOCKS if count > 100 else BLOCKS[:1]):
            yield f"{name} forward {at}", lambda p=pattern.program, at=launch, b=block: forward(p, at, b)
            yield f"{name} backward {at}", lambda p=pattern.program, at=launch, b=block: backward(p, at, b)
    scored, launch = parse_program(SCORED), Launch(200, 200, parameters={"cap": 2.0})
    yield "scored forward", lambda: forward(scored, launch, (64, 32))
    yield "scored backward", lambda: backward(scored, launch, (64, 32))
    yield from ((f"case {seed}", of_case(seed)) for seed in (ALONE, *range(count)))


def of_case(seed: int) -> Derived:
    case = random_case(seed)

    def derived() -> str:
        found = derive(case.program, *case.block, case.launch, budget=60_000)
        return f"{found.schedule}{[(name, found.arrays[name].tolist()) for name in sorted(found.arrays)]}"

    return derived


def main(many: int, order: int, *faults: str) -> None:
    rng = random.Random(order)
    if "slow" in faults:
        ticks = count(0, 1000.0)
        for name in ("time", "monotonic", "perf_counter", "process_time"):
            setattr(time, name, lambda: next(ticks))
    if "plain" in faults:
        setattr(integer_sets, "coalesced", isl.Set.coalesce)  # noqa: B010 (a fault, not an interface)
    todo = list(problems(many))
    todo += todo[::3]
    rng.shuffle(todo)
    found: dict[str, list[str]] = {}
    clutter: list[bytearray] = []
    for name, derived in todo:
        digest = hashlib.sha256(derived().encode()).hexdigest()[:16]
        found[name] = sorted({*found.get(name, []), digest})
        clutter += (bytearray(rng.randrange(1, 5000)) for _ in range(50))
        clutter = rng.sample(clutter, min(len(clutter), 200))
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
