"""The public `dense`: a pattern's mask in full, by definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ...passes.program.call_values import Launch
from ..request import materialise
from ..request.lookups import Numbers, check_reads
from ..request.merged_program import resolved
from .lengths_given import count_given, lengths_given
from .oracle import dense_mask

if TYPE_CHECKING:
    from ...ir.pattern import Pattern


def dense(pattern: Pattern | None, q_len: int | None = None, kv_len: int | None = None, *, batch: int = 1, heads: int = 1) -> Tensor:
    """bool[batch, heads, q_len, kv_len], true where a query sees a key; from the oracle, not from any schedule.

    Meant for looking and for tests: it takes batch * heads * q_len * kv_len bytes. `kv_len` is `q_len` where it is not given, and both
    are those of the pattern's grid or sequence where neither is.

    Raises:
        TypeError: `pattern` is no pattern, or has a parameter without a value; there is no length.
        ValueError: a length, `batch` or `heads` is no integer from 0 on.
        IndexError: a table is read outside its extents.
    """
    program, bindings = resolved(pattern, None)
    q_len, k_len = lengths_given(program.space, q_len, kv_len, least=0)
    batch, heads = count_given("batch", batch, 0), count_given("heads", heads, 0)
    if q_len > 0 and k_len > 0 and program.tables:
        numbers = Numbers(program, bindings, max(q_len, k_len))
        parameters = materialise.parameters(program, bindings)
        check_reads(program, bindings, Launch(q_len, k_len, batch=batch, heads=heads, parameters=parameters, tables=numbers))
    return dense_mask(program, q_len, k_len, bindings, batch, heads)
