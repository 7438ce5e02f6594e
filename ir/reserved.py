"""Which names a parameter or a table may have: plain identifiers that mean nothing else here, in Python, C++ or CUDA."""

from __future__ import annotations

import keyword
import re

from .parse_expression import FUNCTION_NAMES

_IDENTIFIER = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ORDERED = re.compile(r"tokens_in_order(_[0-9]+)?", re.ASCII)  # tables of the orders that calls ask for
_POSITIONS = re.compile(r"[qk][0-9]*", re.ASCII)
LONGEST_NAME = 64

_OURS = "b h s i j Lq Lk offset and or xor not true false inf nan tl triton math std lacuna"
_CPP = """
    alignas alignof and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class compl concept const consteval constexpr constinit const_cast continue contract_assert co_await co_return co_yield
    decltype default delete do double dynamic_cast else enum explicit export extern false final float for friend goto if import inline int
    long module mutable namespace new noexcept not_eq nullptr operator or_eq override private protected public reflexpr register
    reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch synchronized template
    this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor_eq
"""
_RESERVED = FUNCTION_NAMES | set(_OURS.split())
_KEYWORDS = {*keyword.kwlist, *_CPP.split()}


def is_plain(name: str) -> bool:
    """Whether `name` is an identifier in every language that it may be printed in."""
    return _IDENTIFIER.fullmatch(name) is not None


def misnamed(name: str, *, inside: bool = False) -> str | None:
    """What is wrong with `name` for a parameter or table, or None. inside: of a program that passes made."""
    if not is_plain(name):
        return "is not a plain identifier: ASCII letters, digits and `_`, not starting with a digit or `__`"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if name in _RESERVED or _POSITIONS.fullmatch(name) or (_ORDERED.fullmatch(name) and not inside):
        return "is reserved: it already means something in every program"
    if name in _KEYWORDS:
        return "is a keyword of C++ or Python, and the name appears in generated code"
    return None
