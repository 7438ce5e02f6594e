"""How fast can attention on a video be? Counted for every cut into tiles, with the strides that tiles fit, on a machine without a GPU."""

import sys
import time

import lacuna


def main() -> None:
    extents, window = (30, 48, 80), (18, 24, 24)
    started = time.perf_counter()
    found = lacuna.simulate(lacuna.patterns.gna(extents, window), device="h200")
    print(found)
    print(f"\ncounted in {1e3 * (time.perf_counter() - started):.0f} ms")

    fastest = min(found.sparse, key=lambda each: each.time)
    strided = lacuna.simulate(lacuna.patterns.gna(extents, fastest.window, fastest.stride), device="h200")
    for name, each in (("as it is", found), (f"stride {fastest.stride}", strided)):
        chosen = each.chosen
        print(f"{name}: {chosen.useful:.0%} of the visited pairs useful, bound {chosen.bound:.1f} of {each.ideal:.1f}")
    if len(sys.argv) > 1:
        found.plot(sys.argv[1])


if __name__ == "__main__":
    main()
