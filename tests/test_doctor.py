"""`lacuna doctor`: on this machine, and on ones without a compiler, a GPU, or packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from lacuna.cli.app import app
from lacuna.cli.backends_found import Backend, backends_found, essentials_lacking
from lacuna.cli.machine import CompilerFound, Gpu, Machine, compiler_command
from lacuna.cli.packages import OPTIONAL, REQUIRED, Package
from lacuna.cli.surroundings import CacheState, Setting, cache_state, settings_found
from lacuna.runtime.compilers import cpu
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refusing())
from lacuna.cli.app import app
app(["doctor", *sys.argv[1:]], prog_name="lacuna")
"""
HERE = CompilerFound("/usr/bin/g++", "g++ 12", ("-fopenmp",), "avx2", None, "apt install g++")
NO_COMPILER = CompilerFound(None, None, (), "avx2", "there is no C++ compiler", "apt install g++")
H200 = Gpu("H200", "sm_90", 141 * 2**30, True)
CACHE = CacheState("/cache", "usable", True, 0, 0)


def doctor(refused: tuple[str, ...], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", REFUSING.format(refused=refused), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120)


def test_a_machine_without_compiler_triton_and_islpy_is_told_how_to_get_each(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    done = doctor(("triton", "islpy"), PATH=str(empty), CXX="", LACUNA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert done.stderr == ""
    text = done.stdout
    assert "C++ compiler        none: there is no C++ compiler: none of c++, clang++, g++ is on PATH" in text
    assert "islpy         missing: not installed\n" in text
    assert "triton        missing: not installed (for GPUs)\n" in text
    for name in ("cpp", "eager", "triton"):
        assert f"{name:6}  does not run: " in text
    wanted = text.partition("missing for the default\n")[2]
    assert f"get it: {sys.executable} -m pip install 'islpy>=2025.1'\n" in wanted
    assert f"get it: {compiler_command()}\n" in wanted
    assert "triton" not in wanted  # the default for CPU tensors does without


def test_a_machine_without_torch_is_still_told(tmp_path: Path) -> None:
    done = doctor(("torch", "jinja2"), "--json", LACUNA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {lack["what"] for lack in found["missing"]} == {"the package torch (not installed)", "the package jinja2 (not installed)"}
    assert found["machine"]["torch_builds_for"] == "nothing"
    assert [backend["lacks"] != [] for backend in found["backends"]] == [True, True, True]


def test_this_machine_has_all_that_the_default_needs() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    if "C++ compiler        none" in done.stdout:
        pytest.skip("there is no C++ compiler here")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("\n\nall that the default needs is here\n")
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert found["missing"] == []
    assert found["machine"]["compiler"]["problem"] is None
    assert found["machine"]["compiler"]["target"] == found["machine"]["targets"][0]
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_compiler_that_cannot_compile_for_this_processor_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "old-g++"
    wrong.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'g++ 1.0 Free Software Foundation' && exit 0\necho too old >&2; exit 1\n")
    wrong.chmod(0o700)
    monkeypatch.setenv("LACUNA_CXX", str(wrong))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "too old" in done.stdout
    assert "OpenMP            no: kernels run on one thread" in done.stdout
    assert "missing for the default\n  1  a C++ compiler (does not compile for" in done.stdout


def test_the_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(REQUIRED.values()) == project["dependencies"]
    assert [each.partition(";")[0] for each in project["optional-dependencies"]["triton"]] == list(OPTIONAL.values())


# -- what is made of what was found -----------------------------------------------------------------------------------


def packages(*missing: str) -> list[Package]:
    return [
        Package(name, None if name in missing else "1", name in REQUIRED, "not installed" if name in missing else None, f"pip {name}")
        for name in (*REQUIRED, *OPTIONAL)
    ]


def machine(compiler: CompilerFound = HERE, gpus: tuple[Gpu, ...] = (), system: str = "Linux 6") -> Machine:
    return Machine(system, "x86_64", 2, ("avx2", "generic"), compiler, (), gpus, None, "CPU")


def judged(have: list[Package], on: Machine, *settings: Setting, cache: CacheState = CACHE) -> tuple[dict[str, Backend], list[str]]:
    found = backends_found(have, on, settings)
    return {backend.name: backend for backend in found}, [lack.what for lack in essentials_lacking(have, found, cache, settings)]


def test_a_missing_compiler_is_missing_unless_another_backend_is_chosen() -> None:
    backends, missing = judged(packages(), machine(NO_COMPILER))
    assert missing == ["a C++ compiler (there is no C++ compiler)"]
    assert (backends["cpp"].works, backends["eager"].works) == (False, True)
    assert judged(packages(), machine(NO_COMPILER), Setting("LACUNA_BACKEND", "eager", None))[1] == []


def test_openmp_is_of_use_and_not_needed() -> None:
    backends, missing = judged(
        packages(), machine(CompilerFound("/usr/bin/clang++", "clang 15", (), "avx2", None, "x"), system="Darwin 23")
    )
    assert missing == []
    assert backends["cpp"].works
    assert [lack.get for lack in backends["cpp"].lacks] == ["brew install libomp"]


def test_triton_is_needed_where_torch_sees_a_gpu_and_not_elsewhere() -> None:
    assert judged(packages("triton"), machine())[1] == []
    backends, missing = judged(packages("triton"), machine(gpus=(H200,)))
    assert missing == ["the package triton (not installed)"]
    assert backends["triton"].default_for == ("cuda",)
    assert judged(packages(), machine(gpus=(H200,)))[0]["triton"].works


def test_a_gpu_that_torch_does_not_see_asks_for_another_torch() -> None:
    hidden = Gpu("H200", "sm_90", 0, False)
    lacks = judged(packages(), machine(gpus=(hidden,)))[0]["triton"].lacks
    assert [lack.what for lack in lacks] == ["a torch that uses H200 (this one is built for CPU)"]
    assert "-m pip install 'torch>=2.6'" in lacks[0].get


def test_a_cache_that_cannot_be_used_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(shared))
    found = cache_state()
    assert not found.usable
    assert "others can write to" in found.state
    assert judged(packages(), machine(), cache=found)[1] == [f"the cache folder: {found.state}"]
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "not" / "there"))
    assert cache_state() == CacheState(str(tmp_path / "not" / "there"), "not made yet", True, 0, 0)
    assert not (tmp_path / "not").exists()


def test_a_bad_setting_is_named_and_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_THREADS", "many")
    monkeypatch.setenv("LACUNA_BACKND", "cpp")
    found = {each.name: each for each in settings_found()}
    assert "write a whole number from 1 to 4096" in (found["LACUNA_THREADS"].problem or "")
    assert found["LACUNA_BACKND"] == Setting("LACUNA_BACKND", "cpp", "nothing reads it", read=False)
    assert found["LACUNA_JIT"] == Setting("LACUNA_JIT", None, None)
    told = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert [lack["what"].split(":")[0] for lack in told["missing"]] == ["LACUNA_THREADS"]
    assert os.environ["LACUNA_THREADS"] == "many"


@pytest.mark.parametrize("value", ["~nobody-of-this-name/x", "/" + "a" * 300 + "/b", "relative"])
def test_a_cache_folder_that_cannot_be_is_a_bad_setting(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_CACHE_DIR", value)
    problem = {each.name: each.problem for each in settings_found()}["LACUNA_CACHE_DIR"]
    assert "which it does not allow. write" in (problem or "")
    assert cache_state().state.startswith("the environment variable `LACUNA_CACHE_DIR` is")


def test_a_cache_folder_that_cannot_be_looked_into_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index").symlink_to("index")
    tmp_path.chmod(0o700)
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path))
    found = cache_state()
    assert not found.usable
    assert "cannot be read" in found.state


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=debian\n", "apt install g++"),
        ('ID=pop\nID_LIKE="ubuntu debian"\n', "apt install g++"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install gcc-c++"),
        ("ID=arch\n", "pacman -S gcc"),
        ("ID=alpine\n", "apk add g++"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install gcc-c++"),
    ],
)
def test_the_compiler_comes_by_the_command_of_the_distribution(release: str, command: str) -> None:
    assert compiler_command(release, "linux").removeprefix("sudo ") == command
    assert compiler_command("ID=nobody", "linux") == "conda install -c conda-forge cxx-compiler"
    assert compiler_command(release, "darwin") == "xcode-select --install && brew install libomp"


@pytest.mark.parametrize("features", [frozenset[str](), frozenset({"avx2", "amx_tile"})])
def test_the_processor_is_named_and_its_tile_products_too(features: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cpu_features", lambda: features)
    named = cpu.processor_name.__wrapped__()
    assert named.removesuffix(" with AMX").strip()
    assert named.endswith(" with AMX") is ("amx_tile" in features)
