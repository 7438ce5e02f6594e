"""The catalogue: one function per published system, with its source."""

if __name__ != "lacuna.patterns":
    raise ImportError(
        f"`lacuna.patterns` was imported as `{__name__}`; a second copy would have its own identity.\n  write `import lacuna`"
    )

from .blocks import block_causal, block_local, chunked, strided
from .causal import causal, full
from .documents import documents
from .elastic_sink_local import elastic_blocks, elastic_sink_local
from .gna import gna
from .item_local import item_local
from .long_short_heads import long_short_heads
from .modality import composite_modality, modality_mutual
from .neighborhood import dilated_neighborhood, neighborhood
from .prefix import prefix_lm
from .s2_local_stride import s2_local_stride
from .shifted_sparse_s2attn import shifted_sparse_s2attn
from .windows import a_shape, dilated_window, sink_window, sliding_window

__all__ = [
    "a_shape",
    "block_causal",
    "block_local",
    "causal",
    "chunked",
    "composite_modality",
    "dilated_neighborhood",
    "dilated_window",
    "documents",
    "elastic_blocks",
    "elastic_sink_local",
    "full",
    "gna",
    "item_local",
    "long_short_heads",
    "modality_mutual",
    "neighborhood",
    "prefix_lm",
    "s2_local_stride",
    "shifted_sparse_s2attn",
    "sink_window",
    "sliding_window",
    "strided",
]
