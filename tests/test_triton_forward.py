"""Rendered Triton kernels in the interpreter, against attention in float64 from masks written out here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lacuna.codegen.triton import render
from lacuna.ir.expr import FALSE, TRUE, B, Binary, Const, I, J, K, Lookup, Op, Q, Symbol, Table
from lacuna.ir.plan import Plan
from lacuna.ir.schedule import Piece
from lacuna.runtime.request.request import Ragged
from lacuna.runtime.triton.call import launch
from reference import assert_close, attention, tolerance
from torch import Tensor
from triton_kernels import CAUSAL, DENSE, WINDOW, Options, Shape, attend, call_of, every_tile, given, loaded, plan, scored


def rows(shape: Shape) -> Tensor:
    return torch.arange(shape.q_len)[:, None]


def keys(shape: Shape) -> Tensor:
    return torch.arange(shape.k_len)[None, :]


def window(shape: Shape, width: int) -> Tensor:
    return (keys(shape) <= rows(shape)) & (rows(shape) - keys(shape) < width)


def check(
    kernel_plan: Plan,
    folder: Path,
    shape: Shape,
    mask: Tensor,
    options: Options | None = None,
    score: Callable[[Tensor], Tensor] | None = None,
) -> None:
    options = options or Options()
    tensors = shape.tensors()
    out, lse = attend(loaded(kernel_plan, folder), tensors, options)
    exact_out, exact_lse = attention(*tensors, mask, options.scale, score)
    allowed = tolerance(*tensors, mask, options.scale, score)
    assert_close(out, exact_out, allowed.out)
    assert_close(lse, exact_lse, allowed.lse)


@pytest.mark.parametrize("width", [0, -1, 1, 17, 100, 2**31 - 1, 2**40])
def test_a_window_of_any_width_runs_on_one_kernel(tmp_path: Path, width: int) -> None:
    shape = Shape(70, 70, heads=2)
    check(plan(WINDOW), tmp_path, shape, window(shape, width), Options({"W": width}))


def test_thirty_two_bit_indices_give_the_same_bits(tmp_path: Path) -> None:
    tensors = Shape(70, 70).tensors()
    kernel = loaded(plan(WINDOW), tmp_path)
    wide, narrow = (attend(kernel, tensors, Options({"W": 30}, narrow=narrow)) for narrow in (False, True))
    assert torch.equal(wide[0], narrow[0])
    assert torch.equal(wide[1], narrow[1])


@pytest.mark.parametrize("lengths", [(1, 1), (1, 100), (33, 7), (64, 64), (50, 90)])
def test_rectangles_and_ragged_last_tiles_are_right(tmp_path: Path, lengths: tuple[int, int]) -> None:
    shape = Shape(*lengths)
    check(plan(CAUSAL), tmp_path, shape, keys(shape) <= rows(shape))
    check(plan(DENSE), tmp_path, shape, torch.ones(lengths, dtype=torch.bool))


def test_no_keys_at_all_give_zero_rows(tmp_path: Path) -> None:
    shape = Shape(20, 0)
    check(plan(DENSE), tmp_path, shape, torch.ones(20, 0, dtype=torch.bool))


@pytest.mark.parametrize("dims", [(1, 1), (16, 40), (65, 16), (80, 3), (33, 96), (192, 130)])
def test_dimensions_that_are_no_power_of_two_are_padded_or_split(tmp_path: Path, dims: tuple[int, int]) -> None:
    shape = Shape(40, 40, *dims)
    check(plan(CAUSAL, dims=dims), tmp_path, shape, keys(shape) <= rows(shape))


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16", "f64"])
def test_every_dtype_stays_within_its_tolerance(tmp_path: Path, dtype: str) -> None:
    shape = Shape(70, 70, 32, 32, dtype=dtype)
    check(plan(WINDOW, dims=(32, 32), dtype=dtype), tmp_path, shape, window(shape, 40), Options({"W": 40}))


def halved(s: Tensor) -> Tensor:
    return s * 0.5 + 1.0


@pytest.mark.parametrize("scale", [0.0, -0.7, -100.0, 1e-8, 20.0])
@pytest.mark.parametrize("score", ["s", "s * 0.5 + 1.0"])
def test_a_scale_of_any_sign_is_legal(tmp_path: Path, scale: float, score: str) -> None:
    shape = Shape(40, 40)
    check(plan(scored(score)), tmp_path, shape, keys(shape) <= rows(shape), Options(scale=scale), None if score == "s" else halved)


def test_query_heads_share_keys_and_batch_items_share_them_too(tmp_path: Path) -> None:
    shape = Shape(40, 40, batch=3, heads=6, kv_heads=2, kv_batch=1)
    check(plan(CAUSAL), tmp_path, shape, keys(shape) <= rows(shape))


def test_strided_tensors_are_read_where_they_lie(tmp_path: Path) -> None:
    query, key, value = (torch.randn(2, 40, 3, 16) for _ in range(3))
    views = (query.transpose(1, 2), key.transpose(1, 2), value[:, :, :, 1:15].transpose(1, 2))
    mask = torch.arange(40)[None, :] <= torch.arange(40)[:, None]
    out, lse = attend(loaded(plan(CAUSAL, dims=(16, 14)), tmp_path), views)
    exact_out, exact_lse = attention(*views, mask, 0.3)
    assert_close(out, exact_out, tolerance(*views, mask, 0.3).out)
    assert_close(lse, exact_lse, tolerance(*views, mask, 0.3).lse)


# -- scores -----------------------------------------------------------------------------------------------------------


def test_a_score_reads_tables_heads_and_parameters(tmp_path: Path) -> None:
    shape = Shape(40, 40, heads=3)
    slopes = torch.tensor([0.5, -0.1, 0.03])
    distance = keys(shape) - rows(shape)
    options = Options({"cap": 3.0}, {"slopes": slopes})
    text = scored("cap * tanh((s + slopes[h] * float(k - q)) / cap)", "cap: f64, slopes: f32[*]")
    check(
        plan(text),
        tmp_path,
        shape,
        keys(shape) <= rows(shape),
        options,
        lambda s: 3 * torch.tanh((s + slopes.to(s.dtype)[:, None, None] * distance) / 3),
    )


def test_a_real_parameter_of_float64_is_not_rounded(tmp_path: Path) -> None:
    shape = Shape(20, 20, dtype="f64")
    check(plan(scored("s * c", "c: f64"), dtype="f64"), tmp_path, shape, keys(shape) <= rows(shape), Options({"c": 1 / 3}), lambda s: s / 3)


def test_a_score_that_ignores_the_products_still_fills_the_tile(tmp_path: Path) -> None:
    shape = Shape(40, 40)
    check(plan(scored("0.5")), tmp_path, shape, keys(shape) <= rows(shape), score=lambda s: torch.full_like(s, 0.5))
    check(plan(scored("float(q)")), tmp_path, shape, keys(shape) <= rows(shape), score=lambda s: rows(shape).expand_as(s).to(s.dtype))


def test_scores_of_minus_infinity_have_no_weight_and_empty_their_row(tmp_path: Path) -> None:
    shape = Shape(40, 40)
    unseen = (rows(shape) < 5) | (keys(shape) == 3)
    text = scored("where(q < 5 or k == 3, log(0.0), s)")
    check(plan(text), tmp_path, shape, keys(shape) <= rows(shape), score=lambda s: torch.where(unseen, -math.inf, s))


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_nan_and_infinity_reach_the_rows_that_see_them_and_no_others(tmp_path: Path, odd: float) -> None:
    tensors = Shape(60, 60).tensors()
    tensors[0][0, 0, 33, 0] = odd
    tensors[1][0, 0, :, 0] = 1.0
    out, lse = attend(loaded(plan(CAUSAL), tmp_path), tensors)
    row = torch.arange(60) == 33
    assert torch.equal(out.isnan().any(-1)[0, 0], row)
    assert torch.equal(lse.isnan()[0, 0], row)


def test_a_bias_over_queries_and_keys_is_gathered(tmp_path: Path) -> None:
    shape = Shape(40, 50)
    bias = torch.randn(50, 40).T
    check(
        plan(scored("s + bias[q, k]", "bias: f32[*, *]")),
        tmp_path,
        shape,
        keys(shape) <= rows(shape),
        Options(tables={"bias": bias}),
        lambda s: s + bias.to(s.dtype),
    )


def test_truth_values_come_from_tables_and_parameters(tmp_path: Path) -> None:
    shape = Shape(40, 40)
    seen = torch.arange(40) % 3 != 1
    mask = Lookup(Table("seen", "bool", 1), (K,))
    kernel_plan = given(every_tile(Binary(Op.AND, Binary(Op.LE, K, Q), mask)))
    check(kernel_plan, tmp_path, shape, (keys(shape) <= rows(shape)) & seen, Options(tables={"seen": seen}))


# -- schedules --------------------------------------------------------------------------------------------------------


def test_several_pieces_share_one_loop_body(tmp_path: Path) -> None:
    tiles = [Const(n) for n in range(8)]
    pieces = (Piece(tiles[0], tiles[1]), Piece(tiles[2], tiles[2]), Piece(tiles[2], tiles[7], 2), Piece(tiles[5], tiles[3]))
    near = Binary(Op.NE, Binary(Op.MOD, K, Const(5)), Const(2))
    few, many = (render(given(every_tile(near, *chosen))).text for chosen in (pieces[:1], pieces))
    assert few.count("tl.dot(queries") == many.count("tl.dot(queries") == 2  # and where sums are taken once more
    shape = Shape(40, 110)
    visited = torch.isin(keys(shape) // 16, torch.tensor([0, 2, 4, 6]))
    check(given(every_tile(near, *pieces)), tmp_path, shape, visited & (keys(shape) % 5 != 2) & (rows(shape) >= 0))


def test_a_condition_on_the_tile_skips_it(tmp_path: Path) -> None:
    low, high = (Table(name, "i64", 1) for name in ("low", "high"))
    here = Binary(Op.LE, Lookup(low, (I,)), J)
    there = Binary(Op.LT, J, Lookup(high, (I,)))
    pieces = (Piece(Const(0), Const(3), where=here), Piece(Const(3), Const(7)), Piece(Const(7), Const(8), where=there))
    schedule = every_tile(TRUE, *pieces)
    assert "if True:" not in render(given(schedule)).text
    shape = Shape(60, 128)
    options = Options(tables={"low": torch.tensor([0, 2]), "high": torch.tensor([8, 7])})
    tile = keys(shape) // 16
    second = rows(shape) >= 32
    check(given(schedule), tmp_path, shape, ~(second & ((tile < 2) | (tile == 7))), options)


def test_conditions_hold_for_any_of_the_64_tiles_that_are_looked_at_together(tmp_path: Path) -> None:
    """A word of 64 bits for each 64 tiles: their lowest and highest, those beside its middle, and the last word, which is part empty."""
    wanted = Table("wanted", "i64", 1)
    schedule = every_tile(TRUE, Piece(Const(0), Const(150), where=Binary(Op.EQ, Lookup(wanted, (J,)), Const(1))))
    shape, met = Shape(20, 150 * 16), [0, 31, 32, 63, 64, 95, 97, 127, 149]
    options = Options(tables={"wanted": torch.isin(torch.arange(150), torch.tensor(met)).long()})
    check(given(schedule), tmp_path, shape, torch.isin(keys(shape) // 16, torch.tensor(met)) & (rows(shape) >= 0), options)


def test_tiles_come_from_a_list(tmp_path: Path) -> None:
    listed, start = Table("listed", "i32", 1), Table("start", "i64", 1)
    piece = Piece(Lookup(start, (I,)), Lookup(start, (Binary(Op.ADD, I, Const(1)),)), through=listed)
    shape = Shape(60, 100)
    options = Options(tables={"listed": torch.tensor([5, 0, 2, 6], dtype=torch.int32), "start": torch.tensor([0, 1, 4])})
    tile = keys(shape) // 16
    seen = torch.where(rows(shape) < 32, tile == 5, (tile == 0) | (tile == 2) | (tile == 6))
    check(given(every_tile(TRUE, piece)), tmp_path, shape, seen, options)


def test_an_empty_list_visits_nothing(tmp_path: Path) -> None:
    piece = Piece(Const(0), Const(0), through=Table("listed", "i32", 1))
    shape = Shape(20, 20)
    options = Options(tables={"listed": torch.zeros(0, dtype=torch.int32)})
    check(given(every_tile(TRUE, piece)), tmp_path, shape, torch.zeros(20, 20, dtype=torch.bool), options)


def test_a_schedule_without_tiles_gives_zero(tmp_path: Path) -> None:
    kernel_plan = given(every_tile(FALSE))
    kernel_plan = replace(kernel_plan, schedule=replace(kernel_plan.schedule, partial_loops=()))
    shape = Shape(20, 20)
    check(kernel_plan, tmp_path, shape, torch.zeros(20, 20, dtype=torch.bool))


# -- batches ----------------------------------------------------------------------------------------------------------


def test_lengths_and_offsets_differ_between_batch_items(tmp_path: Path) -> None:
    shape = Shape(70, 90, batch=4, heads=2)
    q_lens, k_lens, offsets = torch.tensor([70, 0, 33, 64]), torch.tensor([90, 50, 0, 17]), torch.tensor([20, 0, -5, 3])
    position = Binary(Op.ADD, Q, Symbol("offset"))
    kernel_plan = given(every_tile(Binary(Op.LE, K, position)))
    item = [tensor[:, None, None, None] for tensor in (q_lens, k_lens, offsets)]
    mask = (keys(shape) <= rows(shape) + item[2]) & (rows(shape) < item[0]) & (keys(shape) < item[1])
    check(kernel_plan, tmp_path, shape, mask, Options(ragged=Ragged(q_lens=q_lens, k_lens=k_lens, offsets=offsets)))


def test_the_batch_item_reaches_mask_and_schedule(tmp_path: Path) -> None:
    shape = Shape(40, 64, batch=3)
    limit = Lookup(Table("limit", "i64", 1), (B,))
    tiles = Binary(Op.FLOORDIV, Binary(Op.ADD, limit, Const(15)), Const(16))
    schedule = every_tile(Binary(Op.LT, K, limit), Piece(Const(0), tiles))
    limits = torch.tensor([64, 1, 30])
    check(
        given(schedule), tmp_path, shape, keys(shape) < limits[:, None, None, None].expand(3, 1, 40, 1), Options(tables={"limit": limits})
    )


def test_packed_sequences_are_found_where_they_start(tmp_path: Path) -> None:
    q_lens, k_lens = torch.tensor([5, 0, 40]), torch.tensor([7, 3, 33])
    q_start, k_start = torch.tensor([0, 5, 5]), torch.tensor([0, 7, 10])
    query, key, value = torch.randn(45, 2, 16), torch.randn(43, 2, 16), torch.randn(43, 2, 16)
    views = tuple(tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    ragged = Ragged(q_start=q_start, q_lens=q_lens, k_start=k_start, k_lens=k_lens)
    call = replace(call_of(views, Options(ragged=ragged)), batch=3, q_len=40, k_len=33)  # pyright: ignore[reportArgumentType]
    launch(loaded(plan(CAUSAL), tmp_path), call)
    for n in range(3):
        q, k = (slice(int(start[n]), int(start[n] + lens[n])) for start, lens in ((q_start, q_lens), (k_start, k_lens)))
        mask = torch.arange(int(k_lens[n]))[None, :] <= torch.arange(int(q_lens[n]))[:, None]
        parts = views[0][:, :, q], views[1][:, :, k], views[2][:, :, k]
        if not q_lens[n]:
            continue
        exact_out, exact_lse = attention(*parts, mask, 0.3)
        assert_close(call.out[:, :, q], exact_out, tolerance(*parts, mask, 0.3).out)
        assert call.lse is not None
        assert_close(call.lse[:, :, q], exact_lse, tolerance(*parts, mask, 0.3).lse)


def test_the_log_sum_exp_is_left_out_where_it_is_not_wanted(tmp_path: Path) -> None:
    tensors = Shape(20, 20).tensors()
    kernel = loaded(plan(CAUSAL), tmp_path)
    without = replace(call_of(tensors), lse=None)
    launch(kernel, without)
    assert torch.equal(without.out, attend(kernel, tensors)[0])
