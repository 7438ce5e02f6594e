"""Fixtures of every test: the golden files, a cache of the session's own, the number of examples."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import cast

import hypothesis
import pytest

GOLDEN = Path(__file__).parent / "golden"
LONGEST_GOLDEN = 40

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))  # before torch counts the cores

hypothesis.settings.register_profile("quick", deadline=None, max_examples=60, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("prove", deadline=None, max_examples=1000, print_blob=True)
PROFILE = os.environ.get("LACUNA_TEST_PROFILE", "quick")  # read by tests only; the package knows six variables
hypothesis.settings.load_profile(PROFILE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew; say why in the commit message")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from skip_reasons import counted

    reports = terminalreporter.stats.get("skipped", [])
    lines = counted(str(cast("tuple[object, ...]", each.longrepr)[-1]) for each in reports)
    if lines:
        terminalreporter.section("skipped")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return `check(name, text)`: text equals tests/golden/NAME, which a person can read in one look."""

    def check(name: str, text: str) -> None:
        wanted = text.rstrip("\n") + "\n"
        lines = wanted.count("\n")
        assert lines <= LONGEST_GOLDEN, f"golden `{name}` has {lines} lines: nobody reads more than {LONGEST_GOLDEN}"
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(wanted)
        if not path.exists():
            pytest.fail(f"there is no tests/golden/{name}.\n  write `pytest --update-golden {request.node.nodeid}` and read what it made")
        had = path.read_text()
        if had != wanted:
            difference = difflib.unified_diff(had.splitlines(), wanted.splitlines(), "golden", "now", lineterm="")
            pytest.fail("\n".join(["the text is not the golden one:", *difference]))

    return check


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """Every run compiles into a folder of its own, so that no test passes on yesterday's kernel."""
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LACUNA_") and name != "LACUNA_TEST_PROFILE"]:
            patch.delenv(name)
        patch.setenv("LACUNA_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def compiled_quickly(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Kernels of a file of tests are compiled without optimising in the quick profile."""
    from quick_compiler import quick_compiler  # which asks for the profile

    with quick_compiler(tmp_path_factory.mktemp("compiler")):
        yield


@pytest.fixture
def prove() -> bool:
    """Whether the full counts were asked for (`make prove`)."""
    return PROFILE == "prove"
