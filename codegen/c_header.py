"""The C header of a bundle: its structure, and a declaration of every kernel with what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cpp_text import part
from .environment import ENVIRONMENT

Entry = Mapping[str, Any]
"""A kernel, as the manifest has it."""

ENTRIES = {
    "i8": "int8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "i64": "int64_t",
    "u8": "uint8_t",
    "u16": "uint16_t",
    "u32": "uint32_t",
    "u64": "uint64_t",
    "bool": "uint8_t (0 or 1)",
    "f32": "float",
    "f64": "double",
    "bf16": "uint16_t (bfloat16)",
    "f16": "uint16_t (float16)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """For templates/cpp/lacuna.h.jinja. call: the text of call.h; kernels: declarations."""

    call: str
    kernels: str


def headers(kernels: Sequence[Entry]) -> dict[str, str]:
    """The headers of a bundle by name of file: of its C++ kernels, where there are any."""
    cpu = [kernel for kernel in kernels if kernel["target"].startswith("cpu:")]
    found: dict[str, str] = {}
    if cpu:
        found["include/lacuna.h"] = _rendered(Header(call=part("call.h"), kernels="\n".join(_declarations(cpu))))
    return found


def _rendered(header: Header) -> str:
    return ENVIRONMENT.get_template("cpp/lacuna.h.jinja").render(asdict(header))


def _declarations(kernels: Iterable[Entry]) -> Iterable[str]:
    by_name: dict[str, list[Entry]] = {}
    for kernel in kernels:
        by_name.setdefault(kernel["name"], []).append(kernel)
    for name, same in sorted(by_name.items()):
        targets = ", ".join(each["target"] for each in same)
        yield _declaration(name, same[0], targets)


def _declaration(name: str, kernel: Entry, targets: str) -> str:
    described = [f"{name}: {_meaning(kernel)}", f"for {targets}"]
    if kernel["c"] is None:
        return f"/* {'; '.join(described)}.\n   {_why_not(kernel)} */\n"
    function = kernel["c"]["function"]
    lines = ["/* " + "; ".join(described) + ".", *(f"   {line}" for line in arguments(kernel)), "*/"]
    lines.append(f"LACUNA_API int32_t {function}(const lacuna_call *call);")
    if kernel["c"]["terms"]:
        lines.append(f"LACUNA_API int64_t {function}_terms_size(const lacuna_call *call);")
        lines.append(f"LACUNA_API int32_t {function}_terms(const lacuna_call *call, int64_t *room);")
    return "\n".join([*lines, ""])


def _meaning(kernel: Entry) -> str:
    dim, value_dim = kernel["dims"]
    rows = {"long": "any q_len", "short": "any q_len, made for 17 to 32", "few": "q_len of at most 16"}[kernel["rows"]]
    offset = "any offset" if kernel["shifted"] else "offset 0"
    return f"{kernel['dtype']}, D {dim}, Dv {value_dim}, {rows}, {offset}"


def arguments(kernel: Entry) -> list[str]:
    """What the arrays of a call hold, in order."""
    found: list[str] = []
    for array, kinds in (("integers", ("i64", "bool")), ("reals", ("f64",))):
        names = [each["name"] for each in kernel["parameters"] if each["kind"] in kinds]
        found += [f"{array}: {', '.join(names)}"] if names else []
    given = [each for each in kernel["tables"] if each["given"]]
    found += [f"tables[{at}]: {each['name']}, {ENTRIES[each['dtype']]}, rank {each['rank']}" for at, each in enumerate(given)]
    return found


def _why_not(kernel: Entry) -> str:
    if kernel["family"] == "backward":
        return "A backward kernel: Python calls it."
    if "order" in kernel and kernel["order"]["rows"].startswith("given"):
        return "It takes all tokens of a call in the order of a table: Python calls it where a call asks for one."
    if "order" in kernel:
        return "It takes the tokens of a whole grid in boxes: Python calls it where a call has a whole grid."
    return "Its tiles are listed anew for each call, which Python does."
