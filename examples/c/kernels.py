"""What `lacuna build kernels.py -o bundle` builds for main.c: a causal window inside documents."""

import lacuna
import torch


@lacuna.pattern
def documents_window(q, k, *, doc, window):  # noqa: ANN001, ANN201 (patterns are written without annotations)
    return (k <= q) & (q - k < window) & (doc[q] == doc[k])


pattern = documents_window(doc=torch.zeros(1, dtype=torch.int32), window=1)  # kinds matter, values do not
kernels = [lacuna.KernelSpec(pattern, dtypes=("f32",), head_dims=(64,), passes=("forward",), rows=("long",))]
