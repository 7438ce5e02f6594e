"""Kernels ahead of time: build a bundle, move it, load it, and let nothing be compiled."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import lacuna
import torch

WINDOW = lacuna.patterns.sliding_window(window=256)


def main() -> None:
    spec = lacuna.KernelSpec(WINDOW, dtypes=("f32",), head_dims=(32,), passes=("forward",), rows=("long",))
    with tempfile.TemporaryDirectory() as folder:
        built = lacuna.build(spec, Path(folder, "built"))
        moved = shutil.move(built.folder, Path(folder, "elsewhere"))
        for path in sorted(Path(moved).rglob("*.*")):
            print(f"{path.relative_to(moved)!s:60} {path.stat().st_size:7} bytes")
        (kernel,) = json.loads(Path(moved, "manifest.json").read_text())["kernels"]
        print({name: kernel[name] for name in ("name", "target", "tiling", "parameters", "c")})

        os.environ["LACUNA_JIT"] = "0"  # from here on what no bundle holds is an error
        print(lacuna.load(moved).kernels)
        query, key, value = (torch.randn(1, 2, 500, 32) for _ in range(3))
        found = lacuna.attention(query, key, value, WINDOW)
        narrower = lacuna.attention(query, key, value, lacuna.patterns.sliding_window(window=8))  # a width is an argument
        assert isinstance(found, torch.Tensor)
        assert isinstance(narrower, torch.Tensor)
        print("two windows, one kernel, no compilation:", tuple(found.shape), not torch.equal(found, narrower))
        try:
            lacuna.attention(query, key, value, lacuna.patterns.causal())
        except RuntimeError as missing:
            print(str(missing).splitlines()[1].partition(" --dtype")[0].strip(), "...")
        del os.environ["LACUNA_JIT"]


if __name__ == "__main__":
    main()
