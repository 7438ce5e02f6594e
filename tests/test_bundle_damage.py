"""Bundles that are damaged, truncated, foreign or for other machines: an error that says so, never a wrong kernel."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lacuna
import pytest
from lacuna.runtime.bundles.build import build
from lacuna.runtime.bundles.files import checksum, is_name, names_in
from lacuna.runtime.bundles.load import forget_bundles
from lacuna.runtime.bundles.manifest import BundleError, Manifest, unpacked
from lacuna.runtime.bundles.spec import KernelSpec
from lacuna.runtime.cpp.call import CppKernel
from lacuna.runtime.kernels import shelves as bundle_registry
from quick_compiler import quick_compiler

PROVE_FLIPS, QUICK_FLIPS = 2000, 150


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = KernelSpec(lacuna.patterns.causal(), dtypes=("f32",), head_dims=(8,), passes=("forward",), rows=("few",))
    folder = tmp_path_factory.mktemp("sound")
    with quick_compiler(folder):
        return build(spec, folder / "bundle", processes=1).folder


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    forget_bundles()


def rewritten(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it the digest that it should have."""
    given: dict[str, Any] = json.loads((bundle / "manifest.json").read_bytes())
    change(given)
    given.pop("digest", None)
    body = json.dumps(given, sort_keys=True, separators=(",", ":")).encode()
    (bundle / "manifest.json").write_text(json.dumps({**given, "digest": checksum(body)}))


def test_a_sound_bundle_loads_and_its_manifest_packs_to_its_bytes(bundle: Path) -> None:
    assert lacuna.load(bundle).kernels == ("causal_f32_d8_decode",)
    data = (bundle / "manifest.json").read_bytes()
    assert unpacked(data).pack() == data


def test_the_shipped_schema_is_the_one_that_is_checked(bundle: Path) -> None:
    schema = json.loads((bundle / "manifest.schema.json").read_text())
    assert (
        schema["properties"]["kernels"]["items"]["properties"].keys()
        >= json.loads((bundle / "manifest.json").read_text())["kernels"][0].keys()
    )
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", ["manifest.json", "kernel", "program", "include/lacuna.h"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    found = next(each for each in names_in(bundle) if name in each)
    (bundle / found).unlink()
    with pytest.raises(BundleError, match=rf"has no `{found}`\.\n  write `lacuna build SPEC -o DIR` again"):
        lacuna.load(bundle)


def test_every_flipped_byte_and_every_cut_is_seen(bundle: Path) -> None:
    from conftest import PROFILE

    chance = random.Random(3)
    names = names_in(bundle)
    for _ in range(PROVE_FLIPS if PROFILE == "prove" else QUICK_FLIPS):
        path = bundle / chance.choice(names)
        before = path.read_bytes()
        at = chance.randrange(len(before))
        damaged = before[:at] if chance.random() < 0.3 else before[:at] + bytes([before[at] ^ 1 << chance.randrange(8)]) + before[at + 1 :]
        path.write_bytes(damaged)
        if path.name == "manifest.json" and _same_json(damaged, before):
            lacuna.load(bundle)  # blanks between its words may be others
        else:
            with pytest.raises(BundleError):
                lacuna.load(bundle)
        path.write_bytes(before)


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_a_bundle_of_another_version_says_which(bundle: Path) -> None:
    rewritten(bundle, lambda given: given.update(version=2, lacuna="9.9"))
    with pytest.raises(BundleError, match=r"has format version 2, made by Lacuna '9\.9'; this is Lacuna .*, which reads version 1"):
        lacuna.load(bundle)


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no `manifest\.json`"):
        lacuna.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(BundleError, match="is no bundle of Lacuna: its manifest has format 'other'"):
        lacuna.load(tmp_path)


def test_a_bundle_for_other_machines_names_both(bundle: Path) -> None:
    rewritten(bundle, lambda given: given["kernels"][0].update(target="gfx942"))
    with pytest.raises(
        BundleError, match=r"is for gfx942, and this machine runs .*cpu:generic.*\n  write `lacuna build SPEC -o DIR --target cpu:"
    ):
        lacuna.load(bundle)


@pytest.mark.parametrize(
    "name", ["../outside.so", "/etc/passwd", "kernels/../../x", "a b", "a;b", "$(x)", "-o", "a//b", ".hidden", "a\nb", ""]
)
def test_no_name_leaves_the_bundle(bundle: Path, name: str) -> None:
    assert not is_name(name)
    rewritten(bundle, lambda given: given["kernels"][0].update(binary=name))
    with pytest.raises(BundleError, match="does not keep its schema: `binary` of `kernels` of the manifest, entry 0"):
        lacuna.load(bundle)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("dims", [64], "has 1 entries"),
        ("dims", [64, True], "not of type integer"),
        ("shifted", 1, "not of type boolean"),
        ("dtype", "f8", "not one of"),
        ("entry", "a; rm -rf", "letters that do not belong there"),
        ("surprise", 1, "a field 'surprise' that this version does not know"),
    ],
)
def test_a_field_of_another_kind_is_named(bundle: Path, field: str, value: object, complaint: str) -> None:
    rewritten(bundle, lambda given: given["kernels"][0].update({field: value}))
    with pytest.raises(BundleError, match=complaint):
        lacuna.load(bundle)


def test_a_kernel_without_a_checksum_is_refused(bundle: Path) -> None:
    rewritten(bundle, lambda given: given.update(files={}))
    with pytest.raises(BundleError, match="it has no checksum of `programs/"):
        lacuna.load(bundle)


def test_boxes_that_do_not_fit_their_grid_are_refused(bundle: Path) -> None:
    def change(given: dict[str, Any]) -> None:
        (kernel,) = given["kernels"]
        kernel["order"] = {"grid": kernel["program"], "rows": "boxes(8 x 8, 16 x 2, 1 x 1)", "keys": "given(8 x 8)", "asked": True}

    rewritten(bundle, change)
    with pytest.raises(
        BundleError, match=r"the order of `causal_f32_d8_decode` in the bundle .* is damaged: `boxes\(8 x 8, 16 x 2, 1 x 1\)` and"
    ):
        lacuna.load(bundle)


def test_a_folder_that_is_loaded_again_is_read_again(bundle: Path) -> None:
    lacuna.load(bundle)
    rewritten(bundle, lambda given: given["kernels"][0].update(name="rebuilt"))
    lacuna.load(bundle)
    assert [each.entry["name"] for each in bundle_registry._kernels.values()] == ["rebuilt"]  # pyright: ignore[reportPrivateUsage]


def test_a_kernel_that_the_system_cannot_load_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "needed.c").write_text("int needed(void) { return 1; }\n")
    (tmp_path / "kernel.c").write_text("int needed(void); int kernel(void) { return needed(); }\n")
    for command in (["needed.c", "-o", "libgomp-other.so"], ["kernel.c", "-o", "kernel.so", "-L.", "-l:libgomp-other.so"]):
        subprocess.run(["cc", "-shared", "-fPIC", *command], cwd=tmp_path, check=True)
    (tmp_path / "libgomp-other.so").unlink()
    with pytest.raises(OSError, match=r"the kernel `.*kernel\.so` cannot be loaded: libgomp-other.*\n  write `apt install libgomp1`"):
        CppKernel(tmp_path / "kernel.so", "kernel")


def test_a_program_that_is_no_text_is_refused(bundle: Path) -> None:
    (program,) = (bundle / "programs").iterdir()
    program.write_bytes(b"\xff\xfe")
    rewritten(bundle, lambda given: given["files"].update({f"programs/{program.name}": checksum(b"\xff\xfe")}))
    with pytest.raises(BundleError, match="is damaged: it is no text"):
        lacuna.load(bundle)


@pytest.mark.parametrize("depth", [200, 450, 900])
def test_a_manifest_that_is_nested_deeply_is_refused_like_any_other(bundle: Path, depth: int) -> None:
    text = (bundle / "manifest.json").read_text()
    nested = text.replace('"gradients": []', '"launch": {"a": ' + "[" * depth + "]" * depth + '}, "gradients": []')
    assert nested != text
    with pytest.raises(BundleError):
        unpacked(nested.encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b"nul", b'{"format": NaN}'])
def test_bytes_that_are_no_manifest_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(BundleError):
        unpacked(data)


def test_equal_manifests_are_equal_bytes() -> None:
    assert Manifest({"b": "0", "a": "1"}, ()).pack() == Manifest({"a": "1", "b": "0"}, ()).pack()
