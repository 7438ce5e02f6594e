"""`lacuna demo`: a photograph denoised by neighborhood attention, and how long that takes beside SDPA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json
from .report import Fact, Facts, Part, Text, show, show_json
from .terminal import working

if TYPE_CHECKING:
    from .denoising import Denoised, Denoising, Peer

EXAMPLES = ("lacuna demo --out demo-output",)
BLOCK = (64, 64)

Rows = Annotated[int, typer.Option("--rows", min=1, help="of pixels")]
Cols = Annotated[int, typer.Option("--cols", min=1, help="of pixels")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="write the pictures there: denoised.png and tiles.png")]
Flex = Annotated[bool, typer.Option("--flex", help="time FlexAttention too, which takes a while to compile")]
Explain = Annotated[bool, typer.Option("--explain", help="print how the tiles are found, and their map")]
NoPeers = Annotated[bool, typer.Option("--no-peers", help="leave SDPA out, whose mask takes 4 bytes for each pair of pixels")]


def command(
    rows: Rows = 64,
    cols: Cols = 64,
    out: Out = None,
    flex: Flex = False,
    explained: Explain = False,
    no_peers: NoPeers = False,
    as_json: Json = False,
) -> None:
    """Denoise a photograph by neighborhood attention, beside SDPA with a mask.

    Every pixel looks at the 21 x 21 around it. The output is checked on 512 pixels against attention in float64 over all of them.
    """
    with working("compiling and denoising") as tell:
        from .denoising import Denoising

        at_work = Denoising(rows, cols)
        tell("timing")
        found = at_work.found(_peers(at_work, flex) if not no_peers else {})
        if out is not None:
            tell("writing pictures")
            _write(at_work, found, out)
    if as_json:
        show_json(found)
    else:
        show(_parts(found, at_work, out, explained))


def _peers(at_work: Denoising, flex: bool) -> dict[str, Callable[[], Callable[[], object]]]:
    return {"SDPA with a mask": at_work.sdpa, **({"FlexAttention compiled": at_work.flex} if flex else {})}


def _write(at_work: Denoising, found: Denoised, folder: Path) -> None:
    from ..runtime.views.plot import plot
    from .denoising import save

    folder.mkdir(parents=True, exist_ok=True)
    noisy, denoised = f"noisy, {found.psnr_before:.1f} dB", f"denoised, {found.psnr_after:.1f} dB"
    save({"photograph": at_work.truth, noisy: at_work.noisy, denoised: at_work.denoised}, folder / "denoised.png")
    plot(at_work.pattern, at_work.tokens, path=folder / "tiles.png", block=BLOCK)


# -- as text ----------------------------------------------------------------------------------------------------------


def _parts(found: Denoised, at_work: Denoising, out: Path | None, explained: bool) -> list[Part]:
    facts = [
        Fact("noise", f"{found.psnr_before:.2f} dB before, {found.psnr_after:.2f} dB after (peak signal to noise)"),
        Fact("error", f"{found.error:.1e} at most, against float64 over all pixels"),
        Fact("lacuna", f"{found.ms:.0f} ms; the first call {found.first_ms:.0f} ms, compilation included where it was not in the cache"),
        *(_fact(peer) for peer in found.peers),
        *([Fact("pictures", f"{out / 'denoised.png'}, {out / 'tiles.png'}")] if out else []),
    ]
    told: list[Part] = [Facts(f"{found.rows} x {found.cols} pixels, a window of 21 x 21, patches of 5 x 5 colours", facts)]
    return [*told, *_explanation(at_work)] if explained else told


def _explanation(at_work: Denoising) -> list[Part]:
    from ..runtime.views.explanation import explain
    from ..runtime.views.plot import plot

    drawn = plot(at_work.pattern, at_work.tokens, block=BLOCK, most=32)
    return [Text(str(explain(at_work.pattern, at_work.tokens, block=BLOCK))), Text(f"{drawn}\n. empty, / partial or mixed, # full")]


def _fact(peer: Peer) -> Fact:
    if peer.ms is None or peer.ratio is None:
        return Fact(peer.name, f"did not run: {peer.failed}")
    return Fact(peer.name, f"{peer.ms:.0f} ms, {peer.ratio} times as long in turns")
