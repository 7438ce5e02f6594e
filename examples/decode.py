"""Decoding: offsets and lengths per sequence are arguments, so a growing cache compiles once."""

import lacuna
import torch
from lacuna import patterns


def main() -> None:
    cache_keys, cache_values = torch.randn(2, 2, 512, 64), torch.randn(2, 2, 512, 64)
    pattern = patterns.sink_window(4, 128)
    lengths = torch.tensor([100, 300], dtype=torch.int32)
    for _ in range(3):
        query = torch.randn(2, 8, 1, 64)
        out = lacuna.attention(query, cache_keys, cache_values, pattern, kv_len=lengths, q_offset=lengths - 1)
        print(f"lengths {lengths.tolist()}: out {tuple(out.shape)}")
        lengths = lengths + 1


if __name__ == "__main__":
    main()
