"""What users are told: names of other libraries, things that were not called, layouts that were forgotten, packages that are missing."""

# ruff: noqa: ANN401 (masks and scores are functions of anything that has operators)
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# Arguments that types forbid are what this is about.
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lacuna
import numpy as np
import pytest
import torch
from lacuna import patterns
from lacuna.cli.app import app
from lacuna.interop import natten
from lacuna.interop.dense_mask import from_dense
from lacuna.interop.flash_mask import from_flash_mask
from lacuna.interop.flex import create_block_mask, flex_attention
from typer.testing import CliRunner

MASK = torch.ones(3, 3, dtype=torch.bool)
X = torch.randn(1, 2, 8, 4)
Error = type[BaseException]


def attend(pattern: Any, query: Any = X, **options: Any) -> Any:
    return lacuna.attention(query, query, query, pattern, backend="eager", **options)


@lacuna.pattern
def window(q: Any, k: Any, *, width: int) -> Any:
    return q - k < width


def _late() -> object:
    @lacuna.pattern
    def late(q: Any, k: Any) -> Any:
        return q < limit + k

    found = late.program
    limit = 3
    return found, limit


def _late_in_flex() -> object:
    def late(b: Any, h: Any, q: Any, k: Any) -> Any:
        return q < limit + k

    found = create_block_mask(late, None, None, 8, 8)
    limit = 3
    return found, limit


PATTERNS: list[tuple[Callable[[], object], Error, str]] = [
    (
        lambda: lacuna.pattern(lambda b, h, q_idx, kv_idx: q_idx >= kv_idx),
        TypeError,
        "takes `q_idx`, as functions for FlexAttention do; here it is `q`",
    ),
    (
        lambda: lacuna.score(lambda score, b, h, q_idx, kv_idx: score),
        TypeError,
        "takes `score`, as functions for FlexAttention do; here it is `s`",
    ),
    (lambda: lacuna.score(lambda score: score), TypeError, "or keep the function and import `flex_attention` from `lacuna.interop.flex`"),
    (
        lambda: attend(patterns.causal),
        TypeError,
        "the function `causal` of the catalogue, which was not called.\n  write `patterns.causal(...)`",
    ),
    (lambda: lacuna.schedule(patterns.sliding_window, 8), TypeError, "`sliding_window` of the catalogue, which was not called"),
    (
        lambda: patterns.causal() & patterns.full,
        TypeError,
        "combined with the function `full` of the catalogue, which was not called\n  write `full(",
    ),
    (
        lambda: patterns.full & patterns.causal(),
        TypeError,
        "combined with the function `full` of the catalogue, which was not called\n  write `full(",
    ),
    (lambda: attend(window), TypeError, "`window` is used before `width` is bound\n  write `window(width=...)`"),
    (lambda: lacuna.explain(window, 8), TypeError, "`window` is used before `width` is bound\n  write `window(width=...)`"),
    (
        lambda: attend(MASK),
        TypeError,
        "`pattern` is a mask, torch.bool of shape (3, 3).\n  write `from lacuna.interop.dense_mask import from_dense`",
    ),
    (
        lambda: lacuna.schedule(MASK.numpy(), 3),
        TypeError,
        "`pattern` is a mask, bool of shape (3, 3).\n  write `from lacuna.interop.dense_mask import",
    ),
    (
        lambda: patterns.causal() & MASK,
        TypeError,
        "combined with a tensor torch.bool[3, 3], which is no pattern\n  write `lacuna.interop.dense_mask",
    ),
    (
        lambda: MASK | patterns.causal(),
        TypeError,
        "combined with a tensor torch.bool[3, 3], which is no pattern\n  write `lacuna.interop.dense_mask",
    ),
    (
        lambda: MASK.numpy() & patterns.causal(),
        TypeError,
        "combined with a tensor bool[3, 3], which is no pattern\n  write `lacuna.interop",
    ),
    (_late, TypeError, "`late` reads `limit`, which has no value yet\n  write `limit = ...` before it is traced"),
    (_late_in_flex, TypeError, "`late` reads `limit`, which has no value yet\n  write `limit = ...` before it is traced"),
]

FUNCTIONS: list[tuple[Callable[[Any, Any], object], str]] = [
    (lambda q, k: torch.abs(q - k) < 3, "`torch.abs` is given an expression, which stands for every (q, k) at once\n  write `abs(...)`"),
    (
        lambda q, k: torch.where(q < k, 1, 0) == 1,
        "`torch.where` is given an expression, which stands for every (q, k) at once\n  write `lacuna.where(",
    ),
    (lambda q, k: torch.minimum(q, k) < 3, "write `lacuna.minimum(a, b)`"),
    (
        lambda q, k: torch.logical_and(q < k, k < 3),
        "`torch.logical_and` is given an expression, which stands for every (q, k) at once\n  write `a & b`",
    ),
    (lambda q, k: torch.relu(q) < k, "write operators, `lacuna.where`, `lacuna.minimum` and their like; or a function for FlexAttention"),
    (lambda q, k: np.abs(q - k) < 3, "`numpy.absolute` is given an expression, which stands for every (q, k) at once\n  write `abs(...)`"),
    (lambda q, k: np.where(q < k, 1, 0) == 1, "`numpy.where` is given an expression"),
    (lambda q, k: np.maximum(q, 3) < k, "write `lacuna.maximum(a, b)`"),
    (lambda q, k: np.add.reduce(q) < k, "`numpy.add` is given an expression"),
]

CALLS: list[tuple[Callable[[], object], Error, str]] = [
    (
        lambda: lacuna.explain(patterns.causal()),
        TypeError,
        "no number of tokens is given.\n  write it behind the pattern, `lacuna.explain(pattern, 4096)`",
    ),
    (lambda: lacuna.schedule(patterns.causal()), TypeError, "no number of tokens is given"),
    (lambda: lacuna.plot(patterns.causal()), TypeError, "no number of tokens is given"),
    (lambda: lacuna.dense(patterns.causal()), TypeError, "no number of tokens is given"),
    (lambda: lacuna.dense(patterns.causal(), -1), ValueError, "`q_len` is -1\n  write an integer of at least 0"),
    (
        lambda: lacuna.schedule(patterns.causal(), 8, block=4),
        ValueError,
        "`block` is 4, no pair of edges\n  write tokens of queries and of keys, `(4, 4)`",
    ),
    (lambda: lacuna.explain(patterns.causal(), 8, block=(4,)), ValueError, "`block` is (4,), no pair of edges"),
    (lambda: attend(None, backend_=1), TypeError, "backend_"),
    (lambda: lacuna.attention(X, X, X, backend=["cpp"]), ValueError, "there is no backend ['cpp'].\n  write `cpp` or `eager` or `triton`"),
    (
        lambda: attend(None, kv_len=torch.tensor([2]).to_sparse()),
        TypeError,
        "`kv_len` is a torch.sparse_coo tensor of torch.int64 with shape (1,)",
    ),
    (lambda: attend(None, q_offset=torch.tensor([2]).to_sparse()), TypeError, "`q_offset` is a torch.sparse_coo tensor"),
    (
        lambda: lacuna.sequence(text=None, more=None, video=lacuna.grid(4, 4)),
        ValueError,
        "the parts `text` and `more` are both None.\n  write how many tokens one of them has",
    ),
    (
        lambda: lacuna.sequence(text=None, video=lacuna.grid(None, 4)),
        ValueError,
        "the part `video` is on ? x 4, and where the next one starts is not known\n  write numbers",
    ),
    (
        lambda: lacuna.sequence(text=None, video=lacuna.grid(4, 4)).tokens,
        ValueError,
        "how many tokens the sequence of text of ?, video of 4 x 4 has is known only at a call.\n  write a number of tokens for every part",
    ),
    (
        lambda: lacuna.sequence(text=None, video=lacuna.grid(4, 4))["video"].slice,
        ValueError,
        "where the part `video` starts is known only at a call",
    ),
    (
        lambda: patterns.segmented(lacuna.sequence(text=None, video=lacuna.grid(4, 4)), {}),
        ValueError,
        "a part that only a call tells, beside `text of ?`.\n  write patterns on its parts, joined by `|`",
    ),
    (lambda: lacuna.segments(torch.tensor([0, 2]).to_sparse()), TypeError, "of a torch.sparse_coo tensor\n  write `offsets.to_dense()`"),
    (lambda: lacuna.orders.permutation(torch.arange(4).to_sparse()), TypeError, "layout torch.sparse_coo, no permutation"),
    (
        lambda: lacuna.plot(patterns.causal(), 8, path="/not/there/tiles.png"),
        FileNotFoundError,
        "there is no folder `/not/there` for the picture\n  write",
    ),
    (
        lambda: create_block_mask(lambda b, h, q, k: q >= k, 1, 1, 8, 8, BLOCK_SIZE=[4]),
        TypeError,
        "`BLOCK_SIZE` is [4]\n  write two integers",
    ),
]

NATTEN: list[tuple[Callable[[], object], Error, str]] = [
    (
        lambda: natten.na1d_qk,
        ImportError,
        "`na1d_qk` of NATTEN before 0.20 is half of an attention, and its weights are never in memory here.\n  write `na1d(",
    ),
    (lambda: natten.natten2dqkrpb, ImportError, "write `na2d(query, key, value, kernel_size)`, which is the whole"),
    (lambda: natten.na3d_av, ImportError, "write `na3d(query, key, value, kernel_size)`, which is the whole"),
    (lambda: natten.na4d, AttributeError, "has no attribute `na4d`\n  write one of NeighborhoodAttention1D"),
    (
        lambda: natten.NeighborhoodAttention1D(dim=8, num_heads=2, kernel_size=3),
        TypeError,
        "there is no argument `dim`.\n  write `embed_dim=`",
    ),
    (
        lambda: natten.NeighborhoodAttention2D(8, 2, 3, rel_pos_bias=True),
        TypeError,
        "`rel_pos_bias`.\n  write `lacuna.attention` over `lacuna.patterns.gna",
    ),
    (lambda: natten.NeighborhoodAttention2D(8, 2, 3, attn_drop=0.1), TypeError, "there is no argument `attn_drop`.\n  write `proj_drop=`"),
    (
        lambda: natten.NeighborhoodAttention2D(8, 2, 3, wrong=1),
        TypeError,
        "there is no argument `wrong`.\n  write one of embed_dim, num_heads",
    ),
    (lambda: natten.NeighborhoodAttention2D(num_heads=2, kernel_size=3), TypeError, "`embed_dim` is not given"),
    (lambda: natten.NeighborhoodAttention2D(8, 2), TypeError, "`kernel_size` is not given.\n  write `kernel_size=7`"),
    (lambda: natten.na1d(X, X, X, 3, rpb=torch.ones(2, 5)), TypeError, "there is no argument `rpb`.\n  write `lacuna.attention` over"),
    (lambda: natten.na1d(X, X, X, window_size=3), TypeError, "there is no argument `window_size`.\n  write `kernel_size=`"),
]


@pytest.mark.parametrize(("call", "kind", "message"), [*PATTERNS, *CALLS, *NATTEN])
def test_what_is_written_elsewhere_is_answered_with_what_to_write_here(call: Callable[[], object], kind: Error, message: str) -> None:
    with pytest.raises(kind) as raised:
        call()
    assert message in str(raised.value)


@pytest.mark.parametrize(("function", "message"), FUNCTIONS)
def test_functions_of_other_libraries_are_answered_with_ours(function: Callable[..., object], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        _ = lacuna.pattern(function).program
    assert message in str(raised.value)


def test_numbers_of_numpy_stand_before_operators() -> None:
    found = [lacuna.pattern(each).program.mask for each in (lambda q, k: np.int64(3) + q < k, lambda q, k: np.int64(3) >= k - q)]
    assert [str(each) for each in found] == ["3 + q < k", "k - q <= 3"]


def test_old_keywords_that_ask_for_nothing_are_taken() -> None:
    module = natten.NeighborhoodAttention1D(8, 2, 3, attn_drop=0.0, rel_pos_bias=False)
    assert module(torch.randn(1, 6, 8)).shape == (1, 6, 8)


def test_lengths_of_a_grid_need_not_be_said() -> None:
    pattern = patterns.gna((6, 4), 3)
    assert lacuna.schedule(pattern, block=[4, 4]).tiles().shape == (6, 6)
    assert torch.equal(lacuna.dense(pattern), lacuna.dense(pattern, 24))
    assert lacuna.plot(pattern) == lacuna.plot(pattern, np.int64(24))
    assert lacuna.explain(pattern).schedule.launch.k_len == 24


@pytest.mark.parametrize("given", [[4, 8], (4, 8), (np.int64(4), 8)])
def test_blocks_of_a_mask_come_in_a_list_too(given: Any) -> None:
    mask = create_block_mask(lambda b, h, q, k: q >= k, 1, 1, 16, 16, BLOCK_SIZE=given)
    assert mask.to_dense().shape[-2:] == (4, 2)


# -- the layout of a call ---------------------------------------------------------------------------------------------


def _forgotten() -> list[tuple[Any, str]]:
    ids, bias = torch.zeros(64, dtype=torch.int32), torch.zeros(64)
    joint = patterns.segmented({"text": 4, "image": (6, 10)}, {("text", "image"): False})
    biased = lacuna.score(lambda s, q, *, bias: s + bias[q])(bias=bias)
    return [
        ({"pattern": patterns.gna((8, 8), 3)}, "the grid 8 x 8 holds 64 tokens"),
        ({"pattern": patterns.documents(ids)}, "table `document` has 64 tokens"),
        ({"pattern": joint}, "the space of keys holds 64 tokens"),
        ({"pattern": patterns.full().on(lacuna.grid(64))}, "holds 64 tokens"),
        ({"pattern": from_dense(torch.ones(64, 64).bool())}, "table `mask` has 64 tokens"),
        ({"pattern": None, "score": biased}, "table `bias` has 64 tokens"),
    ]


@pytest.mark.parametrize(("options", "message"), _forgotten())
def test_a_layout_that_was_forgotten_is_named(options: dict[str, Any], message: str) -> None:
    """With it the call runs, and the other way around."""
    query = torch.randn(1, 64, 3, 4)
    right: Any = lacuna.attention(query, query, query, layout="blhd", backend="eager", **options)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (its words are looked at)
        lacuna.attention(query, query, query, backend="eager", **options)
    assert f'{message}, and query and key have 64 heads of 3 tokens in the layout `bhld`.\n  write `layout="blhd"`' in str(raised.value)
    turned = query.transpose(1, 2)
    out: Any = lacuna.attention(turned, turned, turned, backend="eager", **options)
    torch.testing.assert_close(out.transpose(1, 2), right)
    with pytest.raises(ValueError, match=r'in the layout `blhd`\.\n  write `layout="bhld"`'):
        lacuna.attention(turned, turned, turned, layout="blhd", backend="eager", **options)


def test_as_many_heads_as_a_longer_table_has_entries_are_taken_at_their_word() -> None:
    """A cache that is not full yet, and few heads."""
    query = torch.randn(1, 4, 3, 4)
    assert attend(patterns.documents(torch.zeros(4, dtype=torch.int32)), query).shape == query.shape
    many = torch.randn(1, 64, 3, 4)
    assert attend(patterns.documents(torch.zeros(64, dtype=torch.int32)), many, kv_len=3).shape == many.shape


# -- dense masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(8, 6), (2, 1, 8, 6), (1, 3, 8, 6), (2, 3, 1, 6), (2, 3, 8, 1), (3, 8, 6), (6,), (1, 6), (2, 1, 1, 6), (1, 1, 1, 1)]
)
def test_masks_are_broadcast_as_torch_does(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(sum(shape))
    mask = torch.rand(shape, generator=generator) < 0.6
    query, key = torch.randn(2, 3, 8, 4, dtype=torch.float64), torch.randn(2, 3, 6, 4, dtype=torch.float64)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, key, attn_mask=mask.expand(2, 3, 8, 6)).nan_to_num(0)
    pattern = from_dense(mask)
    torch.testing.assert_close(lacuna.attention(query, key, key, pattern, backend="eager"), wanted)
    tiles = np.stack([[lacuna.schedule(pattern, 8, 6, block=(1, 1), batch=2, heads=3).tiles(b, h) for h in range(3)] for b in range(2)])
    assert ((tiles > 0) == mask.expand(2, 3, 8, 6).numpy()).all()


def test_tables_of_faces_have_the_names_of_their_arguments() -> None:
    short = torch.zeros(1, 1, 4, 1, dtype=torch.int32)
    tensors = [torch.zeros(4, dtype=torch.int32)]
    blocks = create_block_mask(lambda b, h, q, k: tensors[0][q] == tensors[0][k], 1, 1, 8, 8)
    for call, name in (
        (lambda: attend(from_dense(MASK)), "table `mask` holds 3 entries"),
        (lambda: attend(from_flash_mask(short, True)), "table `startend_row_indices` holds 4 entries"),
        (lambda: flex_attention(X, X, X, block_mask=blocks), "table `captured` holds 4 entries"),
    ):
        with pytest.raises(IndexError, match=name):
            call()


def test_a_picture_in_a_folder_that_is_not_there_is_refused_by_the_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plot", "patterns.causal", "--q-len", "64", "--out", str(tmp_path / "not" / "tiles.png")])
    assert done.exit_code == 2
    assert "for the picture\n  write `mkdir -p" in done.output


# -- packages that are not there --------------------------------------------------------------------------------------

REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refusing())
"""
COMMAND = "from lacuna.cli.app import app\napp(sys.argv[1:], prog_name='lacuna')"
TRITON = "import torch, lacuna\nx = torch.randn(1, 1, 8, 8)\nlacuna.attention(x, x, x, lacuna.patterns.causal(), backend='triton')"


@pytest.mark.parametrize(
    ("refused", "code", "arguments", "message"),
    [
        ("torch", COMMAND, "plot patterns.causal --q-len 64", "the package `torch` is not installed, and this command needs it\n  write "),
        ("matplotlib", COMMAND, "plot patterns.causal --q-len 64 --out {folder}/tiles.png", "the package `matplotlib` is not installed"),
        ("triton", TRITON, "", 'the package `triton` is not installed.\n  write `pip install triton`, or `backend="eager"`'),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(tmp_path: Path, refused: str, code: str, arguments: str, message: str) -> None:
    command = [sys.executable, "-c", REFUSING.format(refused=refused) + code, *arguments.format(folder=tmp_path).split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (1, 2)
    assert message in done.stderr
