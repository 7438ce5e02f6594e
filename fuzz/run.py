"""Coverage-guided fuzzing of one target: `python fuzz/run.py TARGET [CORPUS] [-max_total_time=600 -max_len=16384 ...]`.

Needs atheris (`pip install atheris`), which the package and its tests do not. The arguments are libFuzzer's. An input that raises anything,
or takes more than 5 s of this process's time, however busy the machine, is written to the current folder as `crash-...`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import atheris

with atheris.instrument_imports(include=["lacuna.ir", "lacuna.runtime", "json"]):
    import readers
    import texts


LONGEST_SECONDS = 5
TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (texts.parser, texts.programs, texts.schedules, texts.expressions, readers.readers, readers.index_files, readers.manifests)
}


def hang(signal_: int, frame: FrameType | None) -> NoReturn:
    raise AssertionError(f"more than {LONGEST_SECONDS} s, at {frame}")


def timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_SECONDS)
        try:
            target(data)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    return run


def main() -> None:
    name, *arguments = sys.argv[1:]
    if name not in TARGETS:
        sys.exit(f"there is no target `{name}`\n  write one of {', '.join(TARGETS)}")
    signal.signal(signal.SIGVTALRM, hang)
    atheris.Setup([sys.argv[0], "-timeout=86400", "-rss_limit_mb=2048", *arguments], timed(TARGETS[name]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
