"""The seven environment variables, and what each refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from lacuna.cli.surroundings import known_names, settings_found
from lacuna.runtime.process.settings import VARIABLES, Settings, settings
from skip_reasons import counted


def test_an_empty_environment_asks_for_nothing() -> None:
    assert settings({}) == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    names = ("CACHE_DIR", "CXX", "DUMP", "JIT", "BACKEND", "THREADS", "CACHE_SIZE")
    assert settings({f"LACUNA_{name}": "" for name in names}) == Settings()


def test_each_variable_reaches_its_field() -> None:
    given = {"CACHE_DIR": "/a/b", "CXX": " ccache g++ ", "DUMP": "dumps", "JIT": "0", "BACKEND": "eager", "THREADS": "3"}
    given["CACHE_SIZE"] = "5M"
    expected = Settings(Path("/a/b"), "ccache g++", Path("dumps"), False, "eager", 3, 5 * 2**20)
    assert settings({f"LACUNA_{name}": value for name, value in given.items()}) == expected


def test_the_environment_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_THREADS", "2")
    assert settings().threads == 2
    monkeypatch.setenv("LACUNA_THREADS", "5")
    assert settings().threads == 5


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("LACUNA_CACHE_DIR", "here/below", "an absolute path"),
        ("LACUNA_CACHE_DIR", __file__, "this is a file"),
        ("LACUNA_DUMP", __file__, "this is a file"),
        ("LACUNA_CXX", "  ", "the path or name of a C\\+\\+ compiler"),
        ("LACUNA_JIT", "yes", "`0` or `1`"),
        ("LACUNA_BACKEND", "cuda11", "`cpp` or `eager` or `triton`"),
        ("LACUNA_THREADS", "0", "from 1 to 4096"),
        ("LACUNA_THREADS", "-1", "from 1 to 4096"),
        ("LACUNA_THREADS", "two", "from 1 to 4096"),
        ("LACUNA_THREADS", "4097", "from 1 to 4096"),
        ("LACUNA_CACHE_DIR", "~nobody-of-this-name/x", "the path of a folder .*: Could not determine home directory"),
        ("LACUNA_CACHE_DIR", f"/{'a' * 300}/b", "the path of a folder .*: File name too long"),
        ("LACUNA_CACHE_SIZE", "-1", "a number of bytes such as .* `512M`"),
        ("LACUNA_CACHE_SIZE", "1.5G", "a number of bytes"),
        ("LACUNA_CACHE_SIZE", "5m", "a number of bytes"),
        ("LACUNA_CACHE_SIZE", "9" * 16, "a number of bytes"),
    ],
)
def test_a_value_outside_the_allowed_ones_is_refused_by_name(name: str, value: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` is `{value}`.*\n  write .*{allowed}"):
        settings({name: value})


def test_a_value_of_any_length_is_refused_in_few_words() -> None:
    with pytest.raises(ValueError, match=r"`LACUNA_THREADS` is `9{400}`, .*\n  write a whole number from 1 to 4096"):
        settings({"LACUNA_THREADS": "9" * 5000})


def test_every_field_has_the_variable_that_sets_it_and_doctor_names_those() -> None:
    """Each name is read: a value that it does not allow is refused by that name."""
    assert set(VARIABLES) == set(Settings._fields)
    wrong = {"jit": "2", "backend": "gpu", "threads": "0", "cache_bytes": "many", "cache_dir": "relative/folder", "cxx": " "}
    for field, value in wrong.items():
        with pytest.raises(ValueError, match=f"`{VARIABLES[field]}` is `"):
            settings({VARIABLES[field]: value})
    assert settings({VARIABLES["dump"]: "somewhere"}).dump is not None
    assert known_names() == tuple(VARIABLES.values())
    assert [each.name for each in settings_found({"LACUNA_CACHE_BYTES": "1"}) if not each.read] == ["LACUNA_CACHE_BYTES"]


def test_skipped_tests_are_counted_by_their_reason() -> None:
    reasons = ["Skipped: a hundred compilations: LACUNA_TEST_PROFILE=prove", "Skipped: one more: LACUNA_TEST_PROFILE=prove"]
    assert counted([*reasons, "Skipped: there is no GPU", "Skipped: no C++ compiler on PATH"]) == [
        "    2 full counts only, `make prove`",
        "    1 with a GPU only",
        "    1 no C++ compiler on PATH",
    ]
