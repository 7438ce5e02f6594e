"""What the command line writes where: terminals wide and narrow, pipes, streams that are closed, names that no terminal should see."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from lacuna.cli.app import app
from lacuna.cli.report import printable
from lacuna.runtime.cache.artefacts import Cache, Key, Manifest
from lacuna.runtime.cache.folder import Folder
from typer.testing import CliRunner

NOT_PLAIN = re.compile("[\x1b\u2500-\u257f]")
STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SHOW = (
    "import sys; from lacuna.cli.report import *; "
    "show([Facts('facts', [Fact('n' * 60, 'a reason')]), Listing(('program', 'target', 'used'), [('near', 'avx512bf16', 'yes')])])"
)


def in_terminal(*command: str, columns: int = 80, **environment: str) -> str:
    """What a program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    try:
        subprocess.run(
            [sys.executable, *command],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**given, "TERM": "xterm-256color", **environment},
            check=True,
            timeout=60,
        )
    finally:
        os.close(theirs)
    seen = os.read(ours, 65536).decode().replace("\r\n", "\n")
    os.close(ours)
    return seen


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in which `lacuna` is this package's."""
    line = f'lacuna() {{ "{sys.executable}" -m lacuna "$@"; }}; {script}'
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


# -- terminals --------------------------------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_a_pipe_does_not() -> None:
    seen = in_terminal("-m", "lacuna", "opt", "--list")
    assert "\x1b[36m" in seen
    assert "simplify" in seen
    assert not NOT_PLAIN.search(shell("FORCE_COLOR=1 lacuna opt --list").stdout)


def test_no_color_leaves_the_layout_and_takes_the_colours() -> None:
    seen = in_terminal("-c", SHOW, NO_COLOR="1")
    assert not re.search(r"\x1b\[3[0-9]m", seen)
    assert "─" in seen


def test_a_long_name_leaves_room_for_what_is_said_of_it() -> None:
    assert re.search(r"  n+ +a reason$", STYLE.sub("", in_terminal("-c", SHOW)), re.MULTILINE)


def test_a_listing_wider_than_the_terminal_is_printed_row_by_row() -> None:
    wide, narrow = (STYLE.sub("", in_terminal("-c", SHOW, columns=columns)) for columns in (80, 24))
    assert re.search(r"^ *program +target +used *$", wide, re.MULTILINE)
    assert re.search(r"^near *\n  target +avx512bf16 *\n  used +yes *$", narrow, re.MULTILINE)


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_failure_to_tell_of() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lacuna", "opt", "--list"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_streams_that_are_closed_are_done_without() -> None:
    done = shell("lacuna opt --list >&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell("lacuna opt nothing.lacuna 2>&-")
    assert (done.returncode, done.stdout) == (2, "")
    done = shell("lacuna explain patterns.causal --q-len 8 --json 2>&-")
    assert json.loads(done.stdout)["live_pairs"] == 8 * 9 // 2


def test_a_full_disk_behind_standard_output_is_told() -> None:
    done = shell("lacuna opt --list >/dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


# -- names ------------------------------------------------------------------------------------------------------------


def test_what_a_terminal_would_obey_is_shown_as_an_escape() -> None:
    assert printable("a\x1b[2Jb\x07\ud880é\n") == "a\\x1b[2Jb\\x07\\ud880é\n"


def test_files_of_any_name_are_told_of(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    Path(os.fsdecode(os.fsencode(cache) + b"/\xff\x1b[2J")).touch()
    done = CliRunner().invoke(app, ["cache", "verify"])
    assert done.exit_code == 1
    assert "  \\udcff\\x1b[2J  nothing of this name belongs here\n" in done.stdout
    told = json.loads(CliRunner().invoke(app, ["cache", "verify", "--json"]).stdout)
    assert told["faults"][0]["name"] == "\udcff\x1b[2J"


def test_the_path_of_the_cache_is_printed_as_the_system_has_it(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    command = [sys.executable, "-m", "lacuna", "cache", "path"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, env={**os.environb, b"LACUNA_CACHE_DIR": odd})
    assert done.stdout == odd + b"\n"


def test_an_entry_takes_one_line_of_the_list_whatever_it_is_made_for(cache: Path) -> None:
    def build(path: Path) -> Manifest:
        path.write_text("kernel")
        return {}

    Cache(Folder(cache)).get_or_build(Key("// first\n// second\n", "cpp\x1bavx2", "g++"), build)
    listed = CliRunner().invoke(app, ["cache", "list"]).stdout
    assert "// first\\n// second\\n  cpp\\x1bavx2" in listed
