"""Forms of the Triton forward kernel on one problem: each as something to run, so that they can be timed beside each other.

form         what is different from the kernel that a call gets
as chosen    nothing
pointers     keys and values come through pointers
descriptors  through tensor descriptors, and all warps do the same
specialised  through tensor descriptors, and warps share the work by kind
persistent   one or two programs for each multiprocessor walk all tiles
heads apart  query heads that share keys have tiles of their own
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lacuna.runtime.calls.call import Call
from lacuna.runtime.kernels.kernel_of import Kernel as Built
from lacuna.runtime.request.description import described
from lacuna.runtime.request.lengths import lengths_given
from lacuna.runtime.request.request import Request
from lacuna.runtime.triton.call import launch
from lacuna.runtime.triton.gpu_kernel import GpuKernel
from lacuna.runtime.triton.kernel import Kernel, Signature, load
from lacuna.runtime.triton.launch import call_of, target_of, values_for, variant_of
from lacuna.runtime.triton.toolchain import render
from torch import Tensor

POINTERS = {"descriptors": False, "specialised": False}
DESCRIPTORS = {"descriptors": True, "specialised": False}
FORMS: Mapping[str, Mapping[str, Any]] = {
    "as chosen": {},
    "pointers": POINTERS,
    "descriptors": DESCRIPTORS,
    "specialised": {"descriptors": True, "specialised": True},
    "persistent 1": {"persistent": 1},
    "persistent 2": {"persistent": 2},
    "heads apart": {},
}


def request_of(tensors: tuple[Tensor, Tensor, Tensor], pattern: Any, score: Any) -> Request:  # noqa: ANN401 (as users give them)
    """A call of attention on tensors [batch, heads, tokens, D]."""
    program, tables, integers, reals = described(pattern, score)
    return Call(*tensors, tables, *lengths_given(0, None, None), integers, reals, program, None, "bhld", "").request()


def run_of(request: Request, form: str, folder: Path) -> Callable[[], Tensor]:
    """What computes the output of a request of more than sixteen rows, in a form; it is compiled when it runs first."""
    variant = variant_of(request, target_of(request.query.device))
    if form == "heads apart":
        variant = variant._replace(together=1, block=(variant.block[0] * variant.together, variant.block[1]))
    values = values_for(request, variant)
    kernel = in_form(values.kernel, FORMS[form], folder)
    call = call_of(request, values, request.new_outputs())

    def run() -> Tensor:
        launch(kernel, call)
        return call.out

    return run


def in_form(built: Built, form: Mapping[str, Any], folder: Path) -> Kernel:
    """A built kernel with other fields of its plan; its text goes to `folder`, which must stay."""
    plan = replace(built.plan, **form)
    source = render(plan)
    path = folder / f"{source.entry}.py"
    path.write_text(source.text, encoding="utf-8")
    signature = Signature.of(plan, source)
    if plan.target.name == "interpreter":
        return load(path, signature, interpret=True)
    return GpuKernel(replace(built, path=path, entry=source.entry), signature)
