"""One call of attention as an operator has it: tensors, numbers and text; checked, it becomes a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...ir.advice import advice
from ...ir.order_text import parted
from ..request.extra_keys import check_extra
from ..request.lengths import Lengths, lengths, lengths_on_gpu, packed_lengths
from ..request.lookups import check_reads, launch_of_call
from ..request.program_text import bindings_of, program_of, reads_positions
from ..request.request import Extra, Request, check_scale, check_shapes, check_tensors, readable
from ..request.table_checks import check_bound_tensors, check_layout, check_space
from ..request.token_order import check_fits
from ..request.zero_keys import check_counts
from ..tensors.host_numbers import on_gpu
from .backend_of import default
from .keywords import unknown

DENSE = ("bhld", "blhd")
LAYOUTS = (*DENSE, "packed")
NO_SPANS: tuple[None, ...] = (None,) * 5


class Call(NamedTuple):
    """The arguments of the operator `lacuna::attention`, in its order.

    query, key, value: in the layout of the call; packed sequences are [total, heads, D].
    tables, integers, reals, program: as `Description` has them; the text of an order, or of one for each head, may come after that of
             the program, and their tables after the others.
    spans:  empty, or integer tensors or None: q_len, kv_len, q_offset, cu_seqlens_q, cu_seqlens_k.
    q_len, kv_len: numbers that go for all batch items, or None. Packed sequences: how many tokens none has more of, or None.
    q_offset: a number; None is "end", unless `spans` has a tensor.
    backend: empty where nobody chose one.
    zero_keys: how many keys of score 0 and value 0 each row sees: shape and dtype of the log-sum-exp, any strides; None is none.
    extra_keys, extra_values: that every row sees too, in the layout of the call, which is not `packed`; None where there are none.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    tables: Sequence[Tensor]
    spans: Sequence[Tensor | None]
    q_len: int | None
    kv_len: int | None
    q_offset: int | None
    integers: Sequence[int]
    reals: Sequence[float]
    program: str
    scale: float | None
    layout: str
    backend: str
    zero_keys: Tensor | None = None
    extra_keys: Tensor | None = None
    extra_values: Tensor | None = None

    @property
    def beside(self) -> tuple[Tensor | None, ...]:
        """Tensors for what rows see beside the pattern."""
        return self.zero_keys, self.extra_keys, self.extra_values

    @property
    def extra(self) -> Extra | None:
        """The extra keys and values as [batch or 1, heads, tokens, D]."""
        if self.extra_keys is None or self.extra_values is None:
            return None
        if self.layout == "packed":
            raise unknown(["extra_keys"])
        return Extra(self.as_requested(self.extra_keys), self.as_requested(self.extra_values))

    @property
    def leaves_lengths(self) -> bool:
        """Whether lengths and offsets stay on a GPU, where only kernels look at them: they are there, and no check of the program asks."""
        if self.layout == "packed" or not self.spans:
            return False
        given = [span for span in self.spans[:3] if span is not None]
        if not given or not any(map(on_gpu, given)):
            return False
        return (self.backend or default(self.query.device.type)) == "triton" and not reads_positions(self.program)

    def heads_first(self) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value as [batch or 1, heads, tokens, D], seen to fit together.

        Raises:
            TypeError, ValueError, NotImplementedError: they do not.
        """
        check_tensors(self.query, self.key, self.value, 3 if self.layout == "packed" else 4)
        if self.layout not in LAYOUTS:
            raise _no_layout(self.layout)
        query, key, value = (self.as_requested(each) for each in (self.query, self.key, self.value))
        check_shapes(query, key, value)
        if self.zero_keys is not None:
            check_counts(self.zero_keys, self.output_shapes()[1], (lse_dtype(query), query.device))
        if (extra := self.extra) is not None:
            check_extra(query, key, value, extra)
        return query, key, value

    def output_shapes(self) -> tuple[list[int], list[int]]:
        """Shapes of output and log-sum-exp, in the layout of the call."""
        sizes, width = self.query.shape, self.value.shape[-1]
        if self.layout == "packed":
            return [*sizes[:-1], width], [sizes[1], sizes[0]]
        batch, rows, heads = sizes[0], sizes[self.layout.index("l")], sizes[self.layout.index("h")]
        return [*sizes[:-1], width], [batch, heads, rows]

    def request(self) -> Request:
        """The request of this call, once the program is seen to fit the lengths.

        Raises:
            TypeError, ValueError, NotImplementedError: an argument does not fit; the message says what to write.
        """
        query, key, value = self.heads_first()
        program = program_of(self.program)
        spans = self._lengths(query, key)
        bindings = bindings_of(program, self.tables, self.integers, self.reals)
        batch = query.shape[0] if spans.ragged.q_start is None else spans.ragged.q_start.shape[0]
        heads = query.shape[1]
        if self.kv_len is None and self.q_len is None and not self.spans and heads == key.shape[1] and self.layout != "packed":
            check_layout(program, bindings, (heads, key.shape[2]), self.layout)
        pairs = batch > 0 and heads > 0 and spans.q_len > 0 and spans.k_stop > 0  # else nothing is read
        if pairs and program.space.is_bound:
            everything = self.kv_len is None and not self.spans and self.layout != "packed"
            check_space(program.space, spans, all_keys=everything)
        if program.tables:
            check_bound_tensors(program, bindings, query.device)
            if pairs:
                check_reads(program, bindings, launch_of_call(program, bindings, spans, (batch, heads), left=self.leaves_lengths))
        request = Request(
            readable(query),
            readable(key),
            readable(value),
            program,
            bindings,
            check_scale(self.scale, query.shape[3]),
            batch,
            spans.q_len,
            spans.k_len,
            spans.offset,
            spans.ragged,
            self.layout,
            from_end=spans.from_end,
            left=spans.left,
            asked=parted(self.program)[1],
            zero_keys=self.rows_first(self.zero_keys),
            extra=None if (extra := self.extra) is None else Extra(*map(readable, extra)),
        )
        if request.asked is not None:
            check_fits(request)
        return request

    def _lengths(self, query: Tensor, key: Tensor) -> Lengths:
        q_lens, k_lens, offsets, cu_q, cu_k = self.spans or NO_SPANS
        q_offset = offsets if offsets is not None else "end" if self.q_offset is None else self.q_offset
        if self.layout == "packed":
            return packed_lengths((query.shape[2], key.shape[2]), (cu_q, cu_k), (self.q_len, self.kv_len), q_offset, query.device)
        if self.leaves_lengths:
            given = (self.q_len if q_lens is None else q_lens, self.kv_len if k_lens is None else k_lens)
            return lengths_on_gpu(query, key, q_offset, *given)
        return lengths(query, key, q_offset, self.q_len if q_lens is None else q_lens, self.kv_len if k_lens is None else k_lens)

    def as_given(self, tensor: Tensor) -> Tensor:
        """A tensor [batch or 1, heads, tokens, D] in the layout of the call."""
        if self.layout == "packed":
            return tensor.squeeze(0).transpose(0, 1)
        return tensor if self.layout == "bhld" else tensor.transpose(1, 2)

    def rows_first(self, numbers: Tensor | None) -> Tensor | None:
        """What has one number for each row, as a request has it: [batch, heads, tokens], of packed sequences [1, heads, total]."""
        return numbers.unsqueeze(0) if numbers is not None and self.layout == "packed" else numbers

    def as_requested(self, tensor: Tensor) -> Tensor:
        """A tensor in the layout of the call as [batch or 1, heads, tokens, D]."""
        if self.layout == "packed":
            return tensor.transpose(0, 1).unsqueeze(0)
        return tensor if self.layout == "bhld" else tensor.transpose(1, 2)


def check_dense_layout(layout: object) -> None:
    """Raises:
    ValueError: tensors with a batch axis have no such layout.
    """
    if layout not in DENSE:
        raise _no_layout(layout)


def _no_layout(layout: object) -> ValueError:
    return ValueError(advice(f"there is no layout {layout!r}", " or ".join(f'`layout="{each}"`' for each in DENSE)))


def lse_dtype(query: Tensor) -> torch.dtype:
    return torch.float64 if query.dtype is torch.float64 else torch.float32
