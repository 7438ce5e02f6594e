"""The C header of a bundle's NVIDIA kernels: for each a function that loads it and one that packs and launches a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .c_header import Entry, arguments
from .cpp_text import part
from .environment import ENVIRONMENT
from .print_triton import parameter_arguments, table_arguments

SIZES = {"f32": 4, "bf16": 2, "f16": 2, "f64": 8}
WIDEST = 16  # bytes of a load
CACHE_BYTES = 2**25  # as in runtime/triton/call.py
ADDRESSES = {"query": "q", "key": "k", "value": "v", "out": "out", "lse": "lse"}
EXTENTS = {"batch": ("batch", "kv_batch"), "head": ("heads", "kv_heads"), "token": ("q_len", "k_len")}
AXES = ("batch", "head", "token")


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaHeader:
    """For templates/cuda/lacuna_cuda.h.jinja. call: the text of call.h; example: a function's prefix; kernels: their functions."""

    call: str
    example: str
    kernels: str


def cuda_header(kernels: Sequence[Entry]) -> str | None:
    """The header; None where no kernel can be launched without Python."""
    by_name: dict[str, list[Entry]] = {}
    for kernel in kernels:
        if launchable(kernel):
            by_name.setdefault(kernel["name"], []).append(kernel)
    if not by_name:
        return None
    texts = [_functions(name, same) for name, same in sorted(by_name.items())]
    header = CudaHeader(call=part("call.h"), example=f"lacuna_{min(by_name)}", kernels="\n".join(texts))
    return ENVIRONMENT.get_template("cuda/lacuna_cuda.h.jinja").render(asdict(header))


def launchable(kernel: Entry) -> bool:
    """Whether a caller without Python can know every argument: no bounds of terms, no lists of tiles, and tokens as they lie."""
    forward = kernel["target"].startswith("sm_") and kernel["family"] == "forward" and kernel.get("reach", 0) > 0
    if not forward or "order" in kernel or any(not table["given"] for table in kernel["tables"]):
        return False
    layout = kernel["binaries"][0]["layout"]
    return layout["ctas"] == 1 and not layout["cooperative"] and all(_value(slot, kernel) is not None for slot, _ in layout["slots"])


LOAD = """\
static inline int32_t lacuna_{name}_load(lacuna_cuda_kernel *kernel, const char *folder, int architecture) {{
  memset(kernel, 0, sizeof *kernel);
  kernel->architecture = architecture;
{cases}
  return LACUNA_CUDA_NO_FILE;
}}
"""
CASE = '  if (architecture == {number}) return lacuna_cuda_load(kernel, folder, "{file}", "{entry}", {shared});'
LAUNCH = """\
static inline int32_t lacuna_{name}_launch_sm_{number}(lacuna_cuda_kernel *kernel, const lacuna_call *c, void *stream) {{
  const lacuna_cuda_shape s = {{{reach}, {unit}, {block_q}, {together}, {persistent}, {key_bytes},
                               {threads}, {shared}, {scratch}, {integers}, {reals}, {tables}, {shifted}}};
  const int32_t refused = lacuna_cuda_check(c, &s);
  if (refused) return refused;
  const int64_t shares = (c->heads + c->kv_heads * s.together - 1) / (c->kv_heads * s.together);
  const int64_t planes = c->batch * c->kv_heads * shares;
  const int64_t fitting = lacuna_cuda_most(1, {cache} / lacuna_cuda_most(1, c->k_len * s.key_bytes));
  const int64_t section = lacuna_cuda_most(1, lacuna_cuda_least(planes, shares * fitting));
  int64_t programs = (c->q_len + s.block_q - 1) / s.block_q * planes;
  if (s.persistent) programs = lacuna_cuda_least(programs, s.persistent * kernel->multiprocessors);
  if (programs == 0) return LACUNA_OK;
  if (programs > INT32_MAX) return LACUNA_CUDA_TOO_LARGE;
  (void)section;
  uint64_t scratch = 0;
  kernel->error = s.scratch_bytes ? kernel->allocate(&scratch, (size_t)(s.scratch_bytes * programs), stream) : 0;
  if (kernel->error) return LACUNA_CUDA_REFUSED;
{values}
  void *arguments[] = {{{addresses}}};
  kernel->error = kernel->launch(kernel->function, (unsigned)programs, 1, 1, s.threads, 1, 1, s.shared_bytes, stream, arguments, NULL);
  if (s.scratch_bytes) kernel->release(scratch, stream);
  return kernel->error ? LACUNA_CUDA_REFUSED : LACUNA_OK;
}}
"""
CHOOSE = """\
static inline int32_t lacuna_{name}_launch(lacuna_cuda_kernel *kernel, const lacuna_call *call, void *stream) {{
{cases}
  return LACUNA_CUDA_NO_FILE;
}}
"""


def _functions(name: str, kernels: Sequence[Entry]) -> str:
    numbers = {kernel["target"].removeprefix("sm_"): kernel for kernel in kernels}
    first = kernels[0]
    dim, value_dim = first["dims"]
    offset = "any offset" if first["shifted"] else "offset 0"
    lines = [f"/* {name}: {first['dtype']}, D {dim}, Dv {value_dim}, {offset}; for {', '.join(each['target'] for each in kernels)}."]
    described = "\n".join([*lines, *(f"   {line}" for line in arguments(first)), "*/", ""])
    cases = [_case(number, kernel) for number, kernel in numbers.items()]
    calls = [
        f"  if (kernel->architecture == {number}) return lacuna_{name}_launch_sm_{number}(kernel, call, stream);" for number in numbers
    ]
    launches = "\n".join(_launch(name, number, kernel) for number, kernel in numbers.items())
    return "\n".join(
        [described + LOAD.format(name=name, cases="\n".join(cases)), launches, CHOOSE.format(name=name, cases="\n".join(calls))]
    )


def _case(number: str, kernel: Entry) -> str:
    binary = kernel["binaries"][0]
    layout = binary["layout"]
    return CASE.format(number=number, file=binary["binary"], entry=layout["entry"], shared=layout["shared_bytes"])


def _launch(name: str, number: str, kernel: Entry) -> str:
    layout, launch = kernel["binaries"][0]["layout"], kernel["launch"]
    size = SIZES[kernel["dtype"]]
    slots = [(f"a{at}", kind, _value(slot, kernel)) for at, (slot, kind) in enumerate(layout["slots"])]
    return LAUNCH.format(
        name=name,
        number=number,
        reach=kernel["reach"],
        unit=WIDEST // size,
        block_q=launch["block_q"],
        together=launch["together"],
        persistent=launch["persistent"],
        key_bytes=sum(kernel["dims"]) * size,
        threads=layout["threads"],
        shared=layout["shared_bytes"],
        scratch=layout["scratch_bytes"] * layout["ctas"],
        integers=sum(each["kind"] != "f64" for each in kernel["parameters"]),
        reals=sum(each["kind"] == "f64" for each in kernel["parameters"]),
        tables=len(kernel["tables"]),
        shifted=int(kernel["shifted"]),
        cache=CACHE_BYTES,
        values="\n".join(f"  const {_type(kind)} {at} = ({_type(kind)})({value});" for at, kind, value in slots),
        addresses=", ".join(f"(void *)&{at}" for at, _, _ in slots),
    )


def _type(kind: str) -> str:
    if kind.startswith("*"):
        return "uint64_t"
    return {"fp32": "float", "fp64": "double", "i64": "int64_t", "i32": "int32_t", "i1": "int8_t"}[kind]


# -- arguments --------------------------------------------------------------------------------------------------------


def _value(slot: str, kernel: Entry) -> str | None:
    """C for an argument of a kernel over `c`, `s`, `planes`, `section` and `scratch`; None where it has none."""
    known = dict(_plain_values()) | dict(_parameter_values(kernel)) | dict(_table_values(kernel))
    return known.get(slot)


def _plain_values() -> Iterator[tuple[str, str]]:
    yield from ((slot, f"(uintptr_t)c->{field}") for slot, field in ADDRESSES.items())
    yield from ((name, f"c->{name}") for name in ("heads", "q_len", "k_len", "offset", "scale"))
    yield from (("group", "c->heads / c->kv_heads"), ("planes", "planes"), ("section", "section"))
    yield from (("global scratch", "scratch"), ("profile scratch", "0"))
    for tensor in ("q", "k", "v", "out", "lse"):
        unit = "1" if tensor == "lse" else "s.unit"
        for number, axis in enumerate(AXES):
            extent = EXTENTS[axis][tensor in ("k", "v")]
            yield f"{tensor}_{axis}", f"lacuna_cuda_stride(c->{tensor}_strides[{number}], c->{extent}, {unit})"


def _parameter_values(kernel: Entry) -> Iterator[tuple[str, str]]:
    counts = {"integers": 0, "reals": 0}
    names: Sequence[Mapping[str, Any]] = kernel["parameters"]
    for each, argument in zip(names, parameter_arguments([each["name"] for each in names]), strict=True):
        array = "reals" if each["kind"] == "f64" else "integers"
        yield argument, f"c->{array}[{counts[array]}]"
        counts[array] += 1


def _table_values(kernel: Entry) -> Iterator[tuple[str, str]]:
    at = 0
    tables: Sequence[Mapping[str, Any]] = kernel["tables"]
    for number, (table, argument) in enumerate(zip(tables, table_arguments([each["name"] for each in tables]), strict=True)):
        yield argument, f"(uintptr_t)c->tables[{number}]"
        for axis in range(table["rank"]):
            yield f"{argument}_stride{axis}", f"c->table_strides[{at + axis}]"
            yield f"{argument}_size{axis}", f"c->table_sizes[{at + axis}]"
        at += table["rank"]
