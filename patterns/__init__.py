"""The catalogue: one function per published system, with its source."""

if __name__ != "lacuna.patterns":
    raise ImportError(
        f"`lacuna.patterns` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`"
    )

from .block_local_prefix import block_local_prefix
from .blocks import block_causal, block_local, chunked, strided
from .causal import causal, full
from .conv_window import conv_window, conv_window_padding
from .disc_local import disc_local
from .documents import documents
from .elastic_sink_local import elastic_blocks, elastic_sink_local
from .gna import gna
from .grid import grid
from .grid_windows import torus_window, window, window_padding
from .halo import halo, halo_padding
from .hierarchical_local_guided import hierarchical_local_guided
from .inward_window import inward_window
from .item_local import item_local
from .long_short_distance import long_short_distance
from .long_short_heads import long_short_heads
from .modality import composite_modality, modality_mutual
from .neighborhood import dilated_neighborhood, neighborhood
from .neighboring_ar import neighboring_ar
from .overlapping_cross import overlapping_cross, overlapping_cross_padding
from .patch_local import patch_local
from .prefix import prefix_lm
from .radial import radial
from .s2_local_stride import s2_local_stride
from .segmented import segmented
from .shifted_sparse_s2attn import shifted_sparse_s2attn
from .windows import a_shape, dilated_window, sink_window, sliding_window

__all__ = [
    "a_shape",
    "block_causal",
    "block_local",
    "block_local_prefix",
    "causal",
    "chunked",
    "composite_modality",
    "conv_window",
    "conv_window_padding",
    "dilated_neighborhood",
    "dilated_window",
    "disc_local",
    "documents",
    "elastic_blocks",
    "elastic_sink_local",
    "full",
    "gna",
    "grid",
    "halo",
    "halo_padding",
    "hierarchical_local_guided",
    "inward_window",
    "item_local",
    "long_short_distance",
    "long_short_heads",
    "modality_mutual",
    "neighborhood",
    "neighboring_ar",
    "overlapping_cross",
    "overlapping_cross_padding",
    "patch_local",
    "prefix_lm",
    "radial",
    "s2_local_stride",
    "segmented",
    "shifted_sparse_s2attn",
    "sink_window",
    "sliding_window",
    "strided",
    "torus_window",
    "window",
    "window_padding",
]
