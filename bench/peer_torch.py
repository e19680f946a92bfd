#!/usr/bin/env python3
"""GB/s of PyTorch's copies from the first GPU to the second, 3 MiB, 64 MiB and 1 GiB: what crates/cuda/examples/peer_bench.rs does."""

import time

import torch

AT_ONCE, ROUNDS = 10, 6

for name, size in [("3 MiB", 3 << 20), ("64 MiB", 64 << 20), ("1 GiB", 1 << 30)]:
    here = torch.zeros(size, dtype=torch.uint8, device="cuda:0")
    there = [torch.zeros(size, dtype=torch.uint8, device="cuda:1") for _ in range(AT_ONCE)]
    best = float("inf")
    for _ in range(ROUNDS):
        torch.cuda.synchronize(0)
        torch.cuda.synchronize(1)
        begun = time.perf_counter()
        for to in there:
            to.copy_(here, non_blocking=True)
        torch.cuda.synchronize(0)
        torch.cuda.synchronize(1)
        best = min(best, time.perf_counter() - begun)
    print(f"{name:>7} PyTorch: {size * AT_ONCE / best / 1e9:.0f} GB/s")
