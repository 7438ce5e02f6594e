"""The command line: what each command prints, in which form, what it ends with, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lacuna.cli import answers, comparison
from lacuna.cli.app import app
from lacuna.ir.parse import parse_program, parse_schedule
from typer.main import get_command
from typer.testing import CliRunner, Result

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "demo",
    "explain",
    "schedule",
    "plot",
    "simulate",
    "opt",
    "bench",
    "build",
    "doctor",
    "cache list",
    "cache verify",
    "cache clear",
    "cache path",
)
WINDOW = "program @window(q < Lq, k < Lk; W: i64) {\n  mask = not (q < k) and q - k < W + 0\n  score = s\n  normalise = softmax\n}\n"
PATTERNS = """
import lacuna
import helper

@lacuna.pattern
def band(q, k, *, width):
    return abs(q - k) <= width

@lacuna.pattern(rank=2)
def near(q, k, *, radius):
    return (abs(q[0] - k[0]) <= radius) & (abs(q[1] - k[1]) <= radius)

narrow = band(width=helper.WIDTH)
number = 3
"""
NOT_PLAIN = re.compile("[\x1b\u2500-\u257f]")
HEAVY = ("torch", "triton", "islpy", "sympy", "networkx", "jinja2", "numpy", "matplotlib")


def lacuna(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="lacuna", input=text)


def printed(*arguments: str, text: str | None = None) -> str:
    """What a command that works writes on standard output."""
    done = lacuna(*arguments, text=text)
    assert done.exit_code == 0, done.stderr
    assert not NOT_PLAIN.search(done.output)
    return done.stdout


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lacuna", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder: a program, a file of patterns and what it imports, and the examples."""
    (tmp_path / "window.lacuna").write_text(WINDOW, encoding="utf-8")
    (tmp_path / "mine.py").write_text(PATTERNS, encoding="utf-8")
    (tmp_path / "helper.py").write_text("WIDTH = 5\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "exiting.py").write_text("import sys\nsys.exit(3)\n", encoding="utf-8")
    (tmp_path / "junk.npz").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "wanting.py").write_text("import not_to_be_found\n", encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, "EDGE", {"cpu": 128})  # of the product that is timed beside attention
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small work on a busy machine: two threads would wait for each other
    yield tmp_path
    torch.set_num_threads(threads)
    for name in ("helper", "mine", "broken", "exiting", "wanting"):
        sys.modules.pop(name, None)


# -- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_a_help_text_runs_and_prints_plain_text(command: str, folder: Path) -> None:
    told = lacuna(*command.split(), "--help")
    assert told.exit_code == 0, told.stderr
    assert not NOT_PLAIN.search(told.stdout)
    examples = [line.split() for line in told.stdout.partition("Example")[2].splitlines()[1:]]
    assert examples
    for example in examples:
        words = shlex.split(" ".join(example))
        assert words[: 1 + len(command.split())] == ["lacuna", *command.split()]
        text = printed(*words[1:])
        assert text
        if "--json" in words:
            json.loads(text)


def test_help_loads_nothing_heavy() -> None:
    program = f"""
import sys
from lacuna.cli.app import app
try:
    app(["explain", "--help"], prog_name="lacuna")
finally:
    print([name for name in {HEAVY!r} if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout
    assert run.endswith("\n[]\n")


def test_the_version_is_that_of_the_package() -> None:
    assert printed("--version") == "lacuna 0.1.0\n"


def test_no_command_prints_the_list_of_commands_and_the_exit_codes() -> None:
    done = lacuna()
    told = " ".join(done.output.split())
    assert done.exit_code == 2
    assert all(command.split()[0] in told for command in COMMANDS)
    assert "Exit codes: 0 it worked, 1 the work failed, 2 the command or something it names is wrong." in told


def test_a_shell_completes_commands_patterns_and_passes() -> None:
    def completed(line: str) -> str:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        return process(_LACUNA_COMPLETE="complete_bash", **words).stdout

    assert completed("lacuna exp").split() == ["explain"]
    assert completed("lacuna explain patterns.slid").split() == ["patterns.sliding_window"]
    assert completed("lacuna opt --passes simplify,fl").split() == ["simplify,flatten-grid"]


# -- patterns ---------------------------------------------------------------------------------------------------------


def test_one_pattern_is_the_same_however_it_is_named(folder: Path) -> None:
    pictures = [
        printed("plot", *name, "--q-len", "96", "--block", "16x16")
        for name in (
            ("patterns.sliding_window", "--set", "window=32"),
            ("window.lacuna", "--set", "W=32"),
            ("lacuna.patterns:sliding_window", "--set", "window=32"),
        )
    ]
    assert pictures[0].splitlines()[:6] == ["/.....", "#/....", "/#/...", "./#/..", "../#/.", ".../#/"]
    assert pictures[0] == pictures[1] == pictures[2]


def test_a_program_is_read_from_standard_input(folder: Path) -> None:
    assert printed("opt", "-", "--passes", "", text=WINDOW) == str(parse_program(WINDOW))


def test_a_pattern_of_a_file_takes_settings_and_a_grid_and_may_import_its_neighbours(folder: Path) -> None:
    found = json.loads(printed("explain", "mine.py:near", "--set", "radius=1", "--on", "8x4", "--block", "4x4", "--json"))
    assert (found["q_len"], found["live_pairs"]) == (32, 22 * 10)  # neighbours along 8 rows times those along 4 columns
    assert json.loads(printed("explain", "mine.py:narrow", "--q-len", "16", "--json"))["live_pairs"] == 16 * 11 - 2 * 15
    assert json.loads(printed("explain", "mine:narrow", "--q-len", "16", "--json"))["live_pairs"] == 16 * 11 - 2 * 15


def test_tables_are_given_as_lists_as_offsets_and_as_files(folder: Path) -> None:
    import numpy

    numpy.save(folder / "ids.npy", numpy.array([0, 0, 1, 1, 1, 2]))
    for value in ("[0, 0, 1, 1, 1, 2]", "segments([0, 2, 5, 6])", "@ids.npy"):
        found = json.loads(printed("explain", "patterns.documents", "--set", f"document={value}", "--q-len", "6", "--json"))
        assert found["live_pairs"] == 3 + 6 + 1
    both = printed("explain", "patterns.documents", "--set", "document=[0,0,1]", "--set", "causal=false", "--q-len", "3", "--json")
    assert json.loads(both)["live_pairs"] == 4 + 1


# -- commands ---------------------------------------------------------------------------------------------------------


def test_opt_prints_the_program_after_the_passes(folder: Path) -> None:
    text = printed("opt", "window.lacuna", "--passes", "simplify")
    assert "mask = k <= q and q - k < W\n" in text
    assert str(parse_program(text)) == text


def test_schedule_prints_ranges_of_tiles_for_every_length(folder: Path) -> None:
    text = printed("schedule", "window.lacuna")
    assert "full_loops range(max(0, (128 * i - W + 191) // 64), min(Lk // 64, 2 * i))" in text
    assert str(parse_schedule(text)) == text
    found = json.loads(printed("schedule", "window.lacuna", "--json"))
    assert found["text"] == text
    assert found["full"] == ["range(max(0, (128 * i - W + 191) // 64), min(Lk // 64, 2 * i))"]
    assert (found["exact"], found["closed_form"], found["tiles"], found["q_len"]) == (True, True, None, None)


def test_a_schedule_at_lengths_counts_its_tiles() -> None:
    found = json.loads(printed("schedule", "patterns.causal", "--q-len", "256", "--kv-len", "192", "--block", "64x64", "--json"))
    assert found["tiles"] == {"empty": 3, "partial": 3, "full": 6}
    assert printed("schedule", "patterns.causal", "--q-len", "128").endswith("\n\ntiles: 0 empty, 2 partial, 0 full\n")


def test_explain_says_the_same_as_text_and_as_json() -> None:
    of = ("explain", "patterns.sliding_window", "--set", "window=64", "--q-len", "512")
    text, found = printed(*of), json.loads(printed(*of, "--json"))
    live = 64 * 512 - 64 * 63 // 2
    assert found["live_pairs"] == live
    assert f"pairs: {live} of {512 * 512}, density {found['density']:.4f}" in text
    assert "tiles of 128 x 64: {empty} empty, {partial} partial, {full} full".format(**found["tiles"]) in text
    assert [each["name"] for each in found["passes"]] == [
        line.split()[0] for line in text.split("passes\n")[1].split("\n\n")[0].splitlines()
    ]


def test_a_pattern_is_put_on_grids_of_queries_and_of_keys_and_on_grids_with_names(folder: Path) -> None:
    of = ("explain", "mine.py:near", "--set", "radius=0", "--json")
    both = json.loads(printed(*of, "--on", "queries=4x4,keys=2x4"))
    assert (both["q_len"], both["kv_len"], both["live_pairs"]) == (16, 8, 8)
    named = json.loads(printed(*of, "--on", "?,cols", "--set", "cols=4", "--q-len", "20"))
    assert (named["q_len"], named["live_pairs"]) == (20, 20)


def test_tiles_are_those_of_the_order_that_is_asked_for(folder: Path) -> None:
    import numpy
    from lacuna import orders, patterns, schedule

    numpy.save(folder / "tokens.npy", numpy.arange(1024)[::-1].copy())
    of = ("schedule", "patterns.gna", "--set", "extents=(32,32)", "--set", "window=9", "--block", "64x64", "--json")
    pattern = patterns.gna((32, 32), 9)
    for text, order in (
        ("hilbert", orders.hilbert((32, 32))),
        ("boxes 4x16", orders.boxes((32, 32), (4, 16))),
        ("axes 1,0", orders.axes((32, 32), (1, 0))),
        ("@tokens.npy", orders.permutation(torch.arange(1023, -1, -1), (32, 32))),
    ):
        tiles = schedule(pattern, 1024, block=(64, 64), order=order).tiles()
        assert json.loads(printed(*of, "--order", text))["tiles"] == {
            "empty": int((tiles == 0).sum()),
            "partial": int((tiles == 1).sum()),
            "full": int((tiles == 2).sum()),
        }


def test_heads_have_orders_of_their_own(folder: Path) -> None:
    of = ("mine.py:near", "--set", "radius=1", "--on", "8x8", "--block", "8x8", "--heads", "4")
    found = json.loads(printed("schedule", *of, "--order", "0,2-3=axes 1,0", "--json"))["heads"]
    assert [each["heads"] for each in found] == [[0, 2], [3], [1]]
    assert [each["order"] for each in found] == ["axes (1, 0) of 8 x 8 tokens"] * 2 + [None]
    assert "heads 0, 2 in axes (1, 0) of 8 x 8 tokens\n" in printed("explain", *of, "--order", "0,2-3=axes 1,0")
    told = json.loads(printed("explain", *of, "--order", "0=morton", "--order", "axes 1,0", "--json"))
    assert [each["heads"] for each in told["heads"]] == [[0], [1, 2, 3]]
    done = lacuna("bench", *of[:5], "--heads", "2", "--dim", "8", "--rounds", "1", "--forward", "--order", "1=hilbert", "--json")
    assert json.loads(done.stdout)["found"]["difference"] < 1e-5


def test_build_takes_orders_of_heads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.bundles import build as module

    asked: list[Any] = []

    def build(spec: object, out: Path, **_: object) -> module.Built:
        asked.append(spec)
        return module.Built(out, 1, ("cpu",), 1)

    monkeypatch.setattr(module, "build", build)
    on = ("mine.py:near", "--set", "radius=1", "--on", "4x4", "--heads", "4", "--kv-heads", "2", "--order", "2-3=axes 1,0")
    printed("build", *on)
    printed("build", "--program", WINDOW, "--set", "W=3", "--order", "hilbert on 2x8")
    (heads, flat) = asked
    assert (heads.heads, heads.kv_heads) == (4, 2)
    assert [order and order.name for order in heads.order.values()] == [None, None, "axes (1, 0)", "axes (1, 0)"]
    assert (flat.order.name, flat.order.extents) == ("hilbert", (2, 8))


def test_a_plot_shows_the_tiles_of_a_head_in_its_order() -> None:
    of = ("plot", "patterns.gna", "--set", "extents=(4,4)", "--set", "window=(4,1)", "--block", "4x4", "--heads", "2")
    asked = ("--order", "1=axes 1,0")
    assert printed(*of, *asked).splitlines()[:4] == ["////"] * 4
    assert printed(*of, *asked, "--head", "1").splitlines()[:4] == ["#...", ".#..", "..#.", "...#"]


def test_plot_writes_a_picture(folder: Path) -> None:
    assert "written to tiles.png" in printed("plot", "patterns.causal", "--q-len", "256", "--out", "tiles.png")
    assert (folder / "tiles.png").read_bytes().startswith(b"\x89PNG")


def test_bench_measures_what_it_says(folder: Path) -> None:
    of = ("patterns.causal", "--q-len", "64", "--heads", "2", "--kv-heads", "1", "--dim", "16", "--rounds", "3", "--backend", "eager")
    done = lacuna("bench", *of, "--json")
    assert "timing 0/2: forward\ntiming 1/2: forward and backward\n" in done.stderr
    report = json.loads(done.stdout)
    assert (report["shape"], report["kv_shape"], report["backend"]) == ([1, 2, 64, 16], [1, 1, 64, 16], "eager")
    found = report["found"]
    assert found["live_pairs"] == 2 * 64 * 65 // 2
    assert found["difference"] < 1e-5
    for row, work in zip(found["rows"], (4, 14), strict=True):
        assert row["gflops"] == pytest.approx(found["live_pairs"] * 16 * work / row["ms"] / 1e6)
        assert [peer["name"] for peer in row["peers"]] == ["SDPA with a mask", "SDPA, causal"]
        for ratio in (row["share"], *(peer["ratio"] for peer in row["peers"])):
            assert 0 < ratio["smallest"] <= ratio["median"] <= ratio["largest"]
    assert "forward and backward" in printed("bench", *of)


def test_bench_gives_sdpa_the_mask_of_every_head(folder: Path) -> None:
    heads = ("patterns.s2_local_stride", "--set", "heads=4", "--set", "local_blocks=1", "--set", "vert_stride=4")
    done = lacuna("bench", *heads, "--q-len", "300", "--rounds", "1", "--forward", "--backend", "eager", "--json")
    assert json.loads(done.stdout)["found"]["difference"] < 1e-5


def test_the_demo_denoises(folder: Path) -> None:
    done = lacuna("demo", "--rows", "24", "--cols", "32", "--out", "pictures", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["psnr_after"] > found["psnr_before"] + 3
    assert found["error"] < 1e-4
    assert [peer["name"] for peer in found["peers"]] == ["SDPA with a mask"]
    assert found["peers"][0]["ratio"]["median"] > 0
    assert (folder / "pictures" / "denoised.png").stat().st_size > 10_000
    assert (folder / "pictures" / "tiles.png").stat().st_size > 1_000
    text = printed("demo", "--rows", "24", "--cols", "32", "--no-peers", "--explain")
    assert "SDPA" not in text
    assert "predicted speed-up over every tile" in text


def test_the_cache_is_listed_verified_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna import attention, patterns

    cache = tmp_path / "cache"
    monkeypatch.setenv("LACUNA_CACHE_DIR", str(cache))
    assert printed("cache", "path") == f"{cache}\n"
    assert json.loads(printed("cache", "list", "--json"))["kernels"] == []
    x = torch.randn(1, 1, 40, 24)
    attention(x, x, x, patterns.sliding_window(7), backend="cpp")
    kernels = json.loads(printed("cache", "list", "--json"))["kernels"]
    artefact = next(each for each in kernels if "choice" not in each["options"])
    assert artefact["current"]
    assert artefact["options"]["dims"] == "(24, 24)"
    assert artefact["program"] in printed("cache", "list")
    assert printed("cache", "verify").endswith("every file is whole\n")
    damage(cache / artefact["index_file"])
    done = lacuna("cache", "verify", "--json")
    assert done.exit_code == 1
    assert artefact["index_file"] in [fault["name"] for fault in json.loads(done.stdout)["faults"]]
    assert lacuna("cache", "clear", text="n\n").exit_code == 1
    assert (cache / artefact["index_file"]).exists()
    printed("cache", "clear", "--damaged")
    assert not (cache / artefact["index_file"]).exists()


def damage(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# -- bad input --------------------------------------------------------------------------------------------------------

BAD = [
    ("opt window.lacuna --passes simplify,polish", "there is no pass `polish`", "write one of `flatten-grid`"),
    ("opt nothing.lacuna", "there is no pattern and no file `nothing.lacuna`", "write `patterns.sliding_window`, `file.py:name`"),
    ("opt mine.py", "which pattern in it is not said", "write `mine.py:NAME`"),
    ("opt helper.py:WIDTH", "`helper.py:WIDTH` is a int, no pattern", "`@lacuna.pattern` made"),
    ("opt examples", "there is no pattern and no file `examples`", "write `patterns."),
    ("explain sliding_window", "there is no pattern and no file `sliding_window`", "write `patterns.sliding_window`"),
    ("explain patterns.slidingwindow", "the catalogue has no `patterns.slidingwindow`", "write `patterns.sliding_window`"),
    ("explain patterns.zzz", "the catalogue has no `patterns.zzz`", "write one of patterns.a_shape"),
    ("explain patterns.sliding_window", "`patterns.sliding_window` needs `window`", "write --set window=..."),
    ("explain patterns.sliding_window --set windw=3", "has no parameter `windw`", "write `--set window=...`"),
    ("explain patterns.sliding_window --set window=0", "`window` is 0", "write"),
    ("explain patterns.sliding_window --set window", "`--set window` binds nothing", "write `--set NAME=VALUE`"),
    ("explain patterns.sliding_window --set window=3+", "`window=3+` has no value that can be read", "write `window=256`"),
    ("explain patterns.sliding_window --set window=3", "how many tokens", "write `--q-len 4096`"),
    ("explain patterns.documents --set document=[0,x]", "`document=[0,x]` is no table", "write `document=[0, 0, 1]`"),
    ("explain patterns.documents --set document=@no.npy", "`document=@no.npy` cannot be read", "write the path of an array"),
    ("explain mine.py:bend", "`mine.py` has no `bend`", "write `mine.py:band`"),
    ("explain mine.py:band --q-len 8", "has no value for `width`", "write --set width=..."),
    ("explain mine.py:near --set radius=1 --q-len 8", "is on a grid whose extents are not given", "write `--on 64x64`"),
    ("explain mine.py:near --set radius=1 --on 8", "rank 2, got 1 extents", "write `.on("),
    ("explain mine.py:near --set radius=1 --on 8xa", "`--on 8xa` is no grid", "write `--on 64x64`, `--on ?,rows,cols` or"),
    ("explain mine.py:near --set radius=1 --on queries=8x8", "`--on queries=8x8` is no grid", "`--on queries=16x16,keys=8x8`"),
    ("explain mine.py:near --set radius=1 --on 8x8,keys=8x8", "`--on 8x8,keys=8x8` is no grid", "`--on queries=16x16,keys=8x8`"),
    ("explain mine.py:near --set radius=1 --on 8x0", "`--on 8x0` is no grid", "write `--on 64x64`"),
    ("explain mine.py:near --set radius=1 --on ?,cols --q-len 8", "has no value for `cols`", "write --set cols=..."),
    ("explain mine.py:near --set radius=1 --on 8x8 --order hilbrt", "`--order hilbrt` is no order", "write one of `row-major`, `hilbert`"),
    ("explain mine.py:near --set radius=1 --on 8x8 --order 1=hilbert", "is for heads past the last of 1", "write `--heads 2`"),
    (
        "explain mine.py:near --set radius=1 --on 8x8 --order hilbert --order morton",
        "is a second order of all heads",
        "write `--order 0-3=",
    ),
    ("explain mine.py:near --set radius=1 --on 8x8 --order @no.npy", "`--order @no.npy` cannot be read", "write the path of an array"),
    ("explain patterns.causal --q-len 8 --order axes,1", "`--order axes,1` is no order", "write one of `row-major`"),
    ("explain none.py:band", "there is no Python file `none.py`", "write the path of a file that ends in `.py`"),
    ("explain not_a_module:band", "there is no module `not_a_module`", "write a module"),
    ("explain broken.py:band", "`broken.py` failed while it was imported: ZeroDivisionError", "write what `python broken.py` runs"),
    ("build broken.py -o out", "`broken.py` failed while it was imported: ZeroDivisionError", "write what `python broken.py` runs"),
    ("explain exiting.py:band", "`exiting.py` failed while it was imported: SystemExit: 3", "write what `python exiting.py` runs"),
    ("explain ./mine:band", "there is no Python file `./mine`", "write the path of a file that ends in `.py`"),
    ("explain patterns.documents --set document={[]:1}", "has no value that can be read", "write `document=256`"),
    (
        "explain patterns.documents --set document=@junk.npz",
        "`document=@junk.npz` cannot be read: File is not a zip file",
        "write the path",
    ),
    (f"schedule patterns.causal --block {'9' * 5000}x64", f"`--block {'9' * 60}` is not 2 positive integers", "write `--block 128x64`"),
    ("explain wanting.py:band", "`wanting.py` imports `not_to_be_found`", "write `pip install not_to_be_found`"),
    ("schedule patterns.causal --block 0x64", "`--block 0x64` is not 2 positive integers", "write `--block 128x64`"),
    ("plot patterns.causal --q-len 64 --out tiles.jpg", "a picture cannot be written to `tiles.jpg`", "write a name that ends in .png"),
    ("plot patterns.causal --q-len 64 --head 1", "`--head 1` of 1 heads", "write `--heads 2`"),
    ("bench patterns.causal --dtype f31", "`--dtype f31` is none of f32, bf16, f16, f64", "write `--dtype f32`"),
    ("bench patterns.causal --backend cuda", "`--backend cuda` is none of", "write `--backend cpp`"),
    ("schedule patterns.causal --q-len 64 --heads 8 --order 5-3=hilbert", "a range that ends before it starts", "write `3-7`"),
    (
        "schedule patterns.causal --q-len 64 --heads 8 --order 0-3=hilbert --order 3=morton",
        "a second order of head 3",
        "write each head once",
    ),
    ("demo --rows 20 --cols 40", "20 x 40 pixels hold no window of 21 x 21", "write `--rows 21"),
]


@pytest.mark.parametrize(("line", "what", "write"), BAD)
def test_bad_input_is_named_and_what_to_write_instead(line: str, what: str, write: str, folder: Path) -> None:
    done = lacuna(*line.split())
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    first, _, second = done.stderr.removeprefix("lacuna: ").partition("\n  ")
    assert what in first
    assert write in second
    assert "Traceback" not in done.stderr
    assert not NOT_PLAIN.search(done.stderr)


def test_a_program_that_is_none_is_refused_with_its_file(folder: Path) -> None:
    (folder / "bad.lacuna").write_text("program @x(q < Lq, k < Lk) { mask = q <=> k }")
    (folder / "bytes.lacuna").write_bytes(b"\xff\xfe\x00")
    done = lacuna("opt", "bad.lacuna")
    assert done.exit_code == 2
    assert done.stderr.startswith("lacuna: bad.lacuna: ")
    done = lacuna("opt", "bytes.lacuna")
    assert done.exit_code == 2
    assert "`bytes.lacuna` cannot be read as a program" in done.stderr


@pytest.mark.parametrize("line", ["explain patterns.causal --q-lenn 3", "explode", "explain", "explain patterns.causal --q-len 0"])
def test_wrong_usage_ends_with_2(line: str) -> None:
    done = lacuna(*line.split())
    assert done.exit_code == 2
    assert "Usage: lacuna" in done.stderr


def test_work_that_fails_ends_with_1_and_a_traceback_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from lacuna.runtime.views import explanation

    def fails(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(explanation, "explain", fails)
    done = lacuna("explain", "patterns.causal", "--q-len", "64")
    assert done.exit_code == 1
    assert done.stderr == "lacuna: RuntimeError: out of luck\n  `lacuna --traceback ...` shows where it came from\n"
    done = lacuna("--traceback", "explain", "patterns.causal", "--q-len", "64")
    assert done.exit_code == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "out of luck" in done.stderr


# -- the page ---------------------------------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "command-line.md"


def leaves(commands: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        yield from leaves(inner, f"{before}{name} ") if inner else [(f"{before}{name}", command)]


def test_the_page_lists_every_command_with_its_options() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = dict(leaves(cast(Any, get_command(app)).commands))
    assert set(found) == set(COMMANDS)
    for name, command in found.items():
        options = [f"`{option}`" for each in command.params for option in each.opts if option.startswith("--") and option != "--help"]
        purpose = command.help.partition("\n")[0].rstrip(".")
        assert f"| `{name}` | {purpose} | {' '.join(options)} |\n" in text


def test_the_page_shows_what_commands_print() -> None:
    shown = re.findall(r"^\$ lacuna (.*)\n((?:(?!\$ |```).*\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(shown) >= 3
    for line, wanted in shown:
        assert lacuna(*shlex.split(line)).output == wanted


def test_the_page_tells_every_exit_code() -> None:
    assert re.findall(r"^\| (\d) \| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == ["0", str(answers.FAILED), str(answers.MISUSED)]
