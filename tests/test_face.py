"""The public names: where they live, and what loading them loads."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import lacuna
import pytest


def test_every_public_name_has_a_home() -> None:
    assert sorted(lacuna.__all__) == lacuna.__all__
    for name in lacuna.__all__:
        assert getattr(lacuna, name) is not None, name
    assert set(lacuna.__all__) <= set(dir(lacuna))
    assert re.fullmatch(r"\d+\.\d+\.\d+", lacuna.__version__)


def test_an_unknown_public_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"module `lacuna` has no attribute `atention`\.\n  write one of KernelSpec, attention, build"):
        lacuna.atention  # type: ignore[attr-defined]  # noqa: B018


def test_public_names_are_loaded_when_used_and_torch_not_before() -> None:
    code = """
import sys, lacuna
heavy = {"torch", "triton", "islpy", "sympy", "numpy", "jinja2", "networkx", "matplotlib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
lacuna.pattern
lacuna.where
assert not heavy & set(sys.modules), heavy & set(sys.modules)
lacuna.attention
assert "torch" in sys.modules
assert not {"islpy", "sympy", "jinja2", "networkx", "matplotlib", "triton"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_functions_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(lacuna.attention)) is lacuna.attention
