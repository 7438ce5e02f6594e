"""What rows see beside the pattern, in Triton kernels: functions, arguments, and the lines around the tiles that use them."""

from __future__ import annotations

from typing import NamedTuple

from ..ir.expr import S
from ..ir.plan import Plan
from .environment import ENVIRONMENT, NO_LINE
from .triton_arguments import EXTRA, EXTRA_STRIDES, ZERO_STRIDES


class Beside(NamedTuple):
    """Of a plan whose rows see nothing else, what leaves a template as it is.

    functions:    before the kernel.
    arguments:    declarations, each with a comma.
    before_tiles, after_tiles: lines around the tiles; again: of the first, those that sum up, for sums that are taken once more.
    faded:        Triton text after such a sum, which makes of it what the lines after the tiles make of others.
    level:        the highest score of each row in octaves, after them.
    merged, merging, after_splits: names of arguments, declarations and lines of the function that merges.
    """

    functions: str = NO_LINE
    arguments: tuple[str, ...] = ()
    before_tiles: str = NO_LINE
    after_tiles: str = NO_LINE
    again: str = NO_LINE
    faded: str = ""
    level: str = "m * unit"
    merged: str = ""
    merging: str = NO_LINE
    after_splits: str = NO_LINE

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arguments."""
        return tuple(each.partition(":")[0].rstrip(",") for each in self.arguments)


def beside(plan: Plan) -> Beside:
    """Of a kernel of any family but that for keys and values."""
    counted = _zero_keys(plan) if plan.zero_keys else Beside()
    if not plan.extra_keys:
        return counted
    arguments = (*(f"{name}," for name in EXTRA[:2]), *(f'{name}: "i64",' for name in (EXTRA[2], *EXTRA_STRIDES)))
    before, loop, again = _extra_keys(plan)
    return counted._replace(arguments=(*counted.arguments, *arguments), before_tiles=f"{before}\n{loop}", again=again)


# -- zero keys --------------------------------------------------------------------------------------------------------

PLACE = "{item} * zero_batch + {head} * zero_head + (first_row + {row}) * zero_token"
COUNTED = """\
zero_rows = zero_keys + {place}
{level}, total, faded = with_zero_keys(tl.load(zero_rows, mask=counts, other=0.0), {m}, total)
acc = acc * faded[:, None]"""
REST = """
if VALUE_REST:
    more_acc = more_acc * faded[:, None]"""


def _zero_keys(plan: Plan) -> Beside:
    helper = ENVIRONMENT.get_template("triton/zero_keys.py.jinja").render()
    arguments = ("zero_keys,", *(f'{stride}: "i64",' for stride in ZERO_STRIDES))
    decodes = plan.family == "decode"
    here = PLACE.format(item="item_number", head="head", row="row" if decodes else "row_tokens")
    there = PLACE.format(item="b", head="h", row="row")
    return Beside(
        functions=f"{helper}\n",
        arguments=arguments,
        after_tiles=COUNTED.format(place=here, level="level", m="m * unit") + ("" if decodes else REST),
        level="level",
        faded=" * faded[:, None]",
        merged="".join(f', "{each}"' for each in ("zero_keys", *ZERO_STRIDES)),
        merging="\n".join(arguments),
        after_splits=COUNTED.format(place=there, level="m", m="m"),
    )


# -- extra keys -------------------------------------------------------------------------------------------------------

LONGEST_TILE = 64  # of extra keys: what has no registers left beside its own tiles would spill with as long ones of these
ALL_OF_THEM = "for onward in tl.range(0, {count}.to(tl.int32), {tile}{stages}):  # extra keys"
STAGES = {False: "", True: ", num_stages=STAGES"}  # of sums that are taken once more
BEFORE = "extra_steps = tl.arange(0, {tile}).to(tl.int64)"
FORWARD = """\
{loop}
    begin = tl.full([], onward, tl.int64)
    extra_inside = begin + extra_steps < extra_len
    keys_here = extra_keys + (item_number * ek_batch + k_h * ek_head + (begin + extra_steps) * ek_token)[None, :] * UNIT
    values_here = extra_values + (item_number * ev_batch + k_h * ev_head + (begin + extra_steps) * ev_token)[:, None] * UNIT
    keys = load_tile(keys_here + dims[:, None], extra_inside[None, :], dims[:, None] < HEAD_DIM, True, HEAD_DIM != HEAD)
    s = tl.dot(queries, keys.to(OPERAND), input_precision=PRECISION, out_dtype=REAL){more_keys}
    s = tl.where(extra_inside[None, :], s{magnitude}, float("-inf"))
    {tail}"""
ABSORBED = """\
values = load_tile(values_here + value_dims[None, :], extra_inside[:, None], value_dims[None, :] < VALUE_DIM, True, VALUE_DIM != VALUE)
    m, total, given, shrink = weighed(s, m, total, unit)
    acc = absorbed(acc, shrink, given, values, OPERAND, PRECISION){more_values}"""
MORE_KEYS = """
    if HEAD_REST:
        more_keys = load_tile(keys_here + rest[:, None], extra_inside[None, :], rest[:, None] < HEAD_DIM, True, True)
        s = tl.dot(more_queries, more_keys.to(OPERAND), s, input_precision=PRECISION, out_dtype=REAL)"""
MORE_VALUES = """
    if VALUE_REST:
        more_values = load_tile(values_here + value_rest[None, :], extra_inside[:, None], value_rest[None, :] < VALUE_DIM, True, True)
        more_acc = absorbed(more_acc, shrink, given, more_values, OPERAND, PRECISION)"""
ABSORBED_AGAIN = """\
seen = s != float("-inf")
    values = load_tile(values_here + dims_again[None, :], extra_inside[:, None], dims_again[None, :] < VALUE_DIM, True, True)
    m_again, total_again, given, shrink = weighed(s, m_again, total_again, unit)
    acc_again = absorbed_again(acc_again, shrink, given, seen, values, phase, OPERAND, PRECISION){more_values}"""
MORE_AGAIN = """
    if REST_AGAIN:
        more_values = load_tile(values_here + rest_again[None, :], extra_inside[:, None], rest_again[None, :] < VALUE_DIM, True, True)
        more_again = absorbed_again(more_again, shrink, given, seen, more_values, phase, OPERAND, PRECISION)"""
BACKWARD = """\
{loop}
    begin = tl.full([], onward, tl.int64)
    extra_inside = (begin + extra_steps)[:, None] < extra_len
    keys_here = extra_keys + (b.to(tl.int64) * ek_batch + k_h * ek_head + (begin + extra_steps) * ek_token)[:, None] * UNIT
    values_here = extra_values + (b.to(tl.int64) * ev_batch + k_h * ev_head + (begin + extra_steps) * ev_token)[:, None] * UNIT + value_dims
    keys = load_tile(keys_here + dims, extra_inside, dims < HEAD_DIM, True, HEAD_DIM != HEAD)
    values = load_tile(values_here, extra_inside, value_dims < VALUE_DIM, True, VALUE_DIM != VALUE)
    s = tl.dot(queries, tl.trans(keys.to(OPERAND)), input_precision=PRECISION, out_dtype=REAL)
    risen = tl.dot(rises, tl.trans(values.to(OPERAND)), input_precision=PRECISION, out_dtype=REAL)
    weight = tl.where((begin + extra_steps)[None, :] < extra_len, tl.exp2(s * unit - level), 0.0)
    moved = tl.where(weight == 0.0, 0.0, weight * (risen - taken))
    {tail}"""
ADDED = "acc = tl.dot(moved.to(keys.dtype).to(OPERAND), keys.to(OPERAND), acc, input_precision=PRECISION, out_dtype=REAL)"
ADDED_AGAIN = """\
again = load_tile(keys_here + dims_again, extra_inside, dims_again < HEAD_DIM, True, True)
    acc_again = added_again(acc_again, moved, weight != 0.0, again, phase, 3, OPERAND, PRECISION)"""


def _extra_keys(plan: Plan) -> tuple[str, str, str]:
    """Lines before the loop that walks them all, the loop, and that of sums that are taken once more.

    Of a decode kernel the program of the first split walks them.
    """
    tile = min(plan.block_k, LONGEST_TILE)
    decodes = plan.family == "decode"
    count = "tl.where(split == 0, extra_len, 0)" if decodes else "extra_len"
    once, again = (ALL_OF_THEM.format(count=count, tile=tile, stages=STAGES[more]) for more in (False, True))
    if plan.family == "backward_queries":
        return BEFORE.format(tile=tile), BACKWARD.format(loop=once, tail=ADDED), BACKWARD.format(loop=again, tail=ADDED_AGAIN)
    common = {"magnitude": "" if plan.score is S else " * magnitude", "more_keys": "" if decodes else MORE_KEYS}
    absorbed = ABSORBED.format(more_values="" if decodes else MORE_VALUES)
    absorbed_again = ABSORBED_AGAIN.format(more_values="" if decodes else MORE_AGAIN)
    loops = FORWARD.format(loop=once, tail=absorbed, **common), FORWARD.format(loop=again, tail=absorbed_again, **common)
    return BEFORE.format(tile=tile), *loops
