"""The package list, the wheel, and an installation outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OUTSIDE = {"tests", "examples", "benchmarks", "docs", "fuzz"}


def packages() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]


def tracked() -> set[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return set(done.stdout.splitlines())


def test_every_room_is_a_package_and_every_package_a_room() -> None:
    rooms = {path.parent.relative_to(ROOT) for path in (*ROOT.glob("*/__init__.py"), *ROOT.glob("*/*/__init__.py"))}
    assert set(packages()) == {"lacuna", *(".".join(("lacuna", *room.parts)) for room in rooms if room.parts[0] not in OUTSIDE)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in tracked():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_git_tracks_in_the_rooms(wheel: Path) -> None:
    rooms = {package.partition(".")[2] for package in packages()} - {""}
    own = {name for name in tracked() if name.split("/")[0] in rooms or ("/" not in name and name.endswith((".py", "py.typed")))}
    with zipfile.ZipFile(wheel) as archive:
        held = {name.removeprefix("lacuna/") for name in archive.namelist() if name.startswith("lacuna/")}
    assert held == own


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """The wheel, unpacked where nothing else is."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site")
    return wheel.parent / "site"


def ran(site: Path, *arguments: str, **settings: str) -> str:
    """What Python prints outside the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site), **settings}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=site.parent, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_outside_the_checkout(site: Path) -> None:
    program = (
        "import lacuna, torch; from lacuna import patterns; x = torch.randn(1, 1, 40, 8);"
        "print(lacuna.__file__, lacuna.attention(x, x, x, patterns.sliding_window(5)).shape)"
    )
    printed = ran(site, "-c", program)
    assert str(site) in printed
    assert "torch.Size([1, 1, 40, 8])" in printed


def test_the_wheel_s_script_shows_the_demo(site: Path) -> None:
    script = next(site.glob("*.dist-info")) / "entry_points.txt"
    assert script.read_text(encoding="utf-8") == "[console_scripts]\nlacuna = lacuna.__main__:main\n"
    start = "import sys; from lacuna.__main__ import main; sys.exit(main())"  # what pip writes for it
    found = json.loads(ran(site, "-c", start, "demo", "--rows", "32", "--cols", "48", "--no-peers", "--json", LACUNA_BACKEND="eager"))
    assert found["psnr_after"] > found["psnr_before"] + 3
