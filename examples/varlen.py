"""Packed sequences of different lengths: positions start anew in each, and none sees another."""

import lacuna
import torch
from lacuna import patterns


def main() -> None:
    lengths = torch.tensor([30, 0, 500, 170])
    cu_seqlens = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).int()
    packed = torch.randn(int(lengths.sum()), 4, 64)
    out, lse = lacuna.varlen_attention(
        packed, packed, packed, patterns.sliding_window(64), cu_seqlens_q=cu_seqlens, q_offset="end", return_lse=True
    )
    print(f"out {tuple(out.shape)}, log-sum-exp {tuple(lse.shape)}")


if __name__ == "__main__":
    main()
