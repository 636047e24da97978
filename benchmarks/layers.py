"""Time and memory of each attention block against its straightforward implementation, into `results/`.

Run: `python -m benchmarks.layers`. Both sides of a row carry the same parameters, are checked to give the same output,
and are timed in one process, in turns, so that load on the machine falls on both. `ms` is the median of a forward in
`inference_mode`, `train_ms` that of a forward and backward; `mb` is the highest sum of the tensors that PyTorch's
allocator held at once during a forward, in MB of 1e6 bytes, input and parameters not counted (nor what oneDNN keeps to
itself). `--against PATH` compares with the same block of another checkout instead (`git worktree add PATH COMMIT`),
both imported into this process; a ratio of at least 0.97 is no slower.

Where memory lies when a process starts makes a block a tenth faster or slower for as long as it lives, the same code
against itself too. So `--against` measures in several processes, one after the other, and writes medians over them.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.straightforward import a2, dattn, halo, hat
from zoo import records
from zoo.layers.a2 import DoubleAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import HybridAttention, HybridAttentionBlock, HybridOptions, OverlappingCrossAttention

TABLE = Path(__file__).parents[1] / "results" / "benchmark_layers.csv"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
LEVELS = {"P3": (128, 80), "P4": (256, 40), "P5": (512, 20)}


def _dattn(dim: int, stride: int) -> nn.Module:
    return DeformableAttention(dim, heads=dim // 32, groups=dim // 128, stride=stride)


def _halo(dim: int, block_size: int, halo_size: int) -> nn.Module:
    return HaloAttention(dim, heads=dim // 32, dim_head=32, block_size=block_size, halo_size=halo_size)


BLOCKS: dict[str, tuple[Callable[[int], nn.Module], Callable[[nn.Module], nn.Module]]] = {
    "dattn, stride 1": (lambda dim: _dattn(dim, 1), dattn.straightforward),
    "dattn, stride 4/2/1": (lambda dim: _dattn(dim, 512 // dim), dattn.straightforward),
    "halo, block 2, halo 1": (lambda dim: _halo(dim, 2, 1), halo.straightforward),
    "halo, block 4, halo 2": (lambda dim: _halo(dim, 4, 2), halo.straightforward),
    "hat, HAB": (lambda dim: HybridAttentionBlock(dim, dim // 32, HybridOptions(), shift_size=4), hat.straightforward),
    "hat, OCAB": (lambda dim: OverlappingCrossAttention(dim, dim // 32, HybridOptions()), hat.straightforward),
    "hat, body": (lambda dim: HybridAttention(dim, embed_dim=64, depths=(2,), heads=(4,)), hat.straightforward),
    "a2": (DoubleAttention, a2.straightforward),
}
TIMM = "halo, block 4, halo 2 / timm"


class TimmHalo(nn.Module):
    """timm's `HaloAttn`, which masks nothing, and the projection that ours ends with."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        from timm.layers.halo_attn import HaloAttn

        assert isinstance(ours, HaloAttention)
        dim, heads = ours.qkv.in_features, ours.heads
        self.attention = HaloAttn(dim, num_heads=heads, block_size=ours.block_size, halo_size=ours.halo_size)
        self.project = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.attention(x))


def blocks_of(checkout: Path) -> dict[str, Any]:
    """`BLOCKS` of another checkout, made of that checkout's layers; this one's modules stay what `import` finds."""

    def forget() -> dict[str, Any]:
        ours = [name for name in sys.modules if name.partition(".")[0] in ("benchmarks", "zoo")]
        return {name: sys.modules.pop(name) for name in ours}

    here = forget()
    sys.path.insert(0, str(checkout.resolve()))
    try:
        return importlib.import_module("benchmarks.layers").BLOCKS
    finally:
        sys.path.pop(0)
        forget()
        sys.modules.update(here)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def time_in_turns(
    calls: list[Callable[[], object]], seconds: float, device: torch.device, clock: Callable[[], float]
) -> list[float]:
    """Median milliseconds of each call, all called once a round, for `seconds` but at least five rounds.

    Every other round runs backwards: what is called after itself finds memory and caches as it likes them.
    """
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    turns = list(zip(calls, times, strict=True))
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for call, taken in turns:
            _synchronize(device)
            start = clock()
            call()
            _synchronize(device)
            taken.append((clock() - start) * 1e3)
        turns.reverse()
    return [statistics.median(taken) for taken in times]


def peak_megabytes(call: Callable[[], object], device: torch.device) -> float:
    """The most that tensors made by `call` hold at once, in 1e6 bytes."""
    if device.type == "cuda":
        _synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        call()
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


def compare(
    ours: nn.Module, other: nn.Module, x: Tensor, *, seconds: float, clock: Callable[[], float], same: bool
) -> dict[str, float]:
    """One row of the table, less its name.

    Args:
        ours: The block.
        other: What it is compared with.
        x: Input, `(B, C, H, W)`.
        seconds: Time for each of the two measurements.
        clock: What counts the time.
        same: Whether both must give the same output.
    """
    sides = (ours, other)

    def train(block: nn.Module) -> None:
        block(x).sum().backward()
        block.zero_grad(set_to_none=True)

    with torch.inference_mode():
        error = (ours(x) - other(x)).abs().max().item()
        if same and error > (1e-3 if x.dtype == torch.float32 else 1e-1):
            raise AssertionError(f"{type(ours).__name__}: outputs differ by {error}")
        ms, other_ms = time_in_turns([lambda b=b: b(x) for b in sides], seconds, x.device, clock)
        mb, other_mb = (peak_megabytes(lambda b=b: b(x), x.device) for b in sides)
    train_ms, other_train_ms = time_in_turns([lambda b=b: train(b) for b in sides], seconds, x.device, clock)
    return {
        "ms": ms,
        "other_ms": other_ms,
        "ratio": other_ms / ms,
        "mb": mb,
        "other_mb": other_mb,
        "mb_ratio": other_mb / mb,
        "train_ms": train_ms,
        "other_train_ms": other_train_ms,
        "train_ratio": other_train_ms / train_ms,
        "max_difference": error if same else float("nan"),
    }


def in_processes(count: int) -> list[dict[str, object]]:
    """Run this command so many times, each in a process of its own; medians of what they measured, row by row."""
    tables = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "table.csv")
            subprocess.run([*sys.orig_argv, "--processes", "1", "--output", str(output)], check=True)
            tables.append(records.read(output))
    measured = ("ms", "mb", "ratio", "difference")
    rows = []
    for same in zip(*tables, strict=True):
        numbers = {key: [float(row[key]) for row in same] for key in same[0] if key.endswith(measured)}
        medians = {key: float(f"{statistics.median(values):.4g}") for key, values in numbers.items()}
        rows.append({**same[0], **medians, "processes": count})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", nargs="+", choices=[*BLOCKS, TIMM], default=[*BLOCKS, TIMM])
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: less disturbed by other programs")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement of a row")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--compile", action="store_true", help="compare with the block under torch.compile instead")
    what.add_argument("--against", type=Path, metavar="PATH", help="compare with another checkout of the zoo instead")
    parser.add_argument(
        "--processes", type=int, help="that measure, each for `seconds`; default 5 for --against, else 1"
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of a second each, and write no file")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    processes = options.processes or (5 if options.against and not options.quick else 1)
    if processes > 1:
        records.write(options.output, in_processes(processes))
        return
    theirs = blocks_of(options.against) if options.against else {}
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)

    rows = []
    for name in options.blocks:
        if options.against and name == TIMM:
            continue
        make, straightforward = BLOCKS[name.removesuffix(" / timm")]
        for level in options.levels:
            dim, size = LEVELS[level]
            ours = make(dim).eval().to(device, dtype)
            if options.against:
                other = theirs[name][0](dim)
                other.load_state_dict(ours.state_dict())
            elif options.compile:
                other = torch.compile(ours)
            else:
                other = TimmHalo(ours) if name == TIMM else straightforward(ours)
            other = other.eval().to(device, dtype)
            x = torch.randn(1, dim, size, size, device=device, dtype=dtype)
            if device.type == "cuda":
                x = x.contiguous(memory_format=torch.channels_last)
            seconds = 0.2 if options.quick else options.seconds
            row = compare(ours, other, x, seconds=seconds, clock=CLOCKS[options.clock], same=name != TIMM)
            rows.append({"block": name, "level": level} | {k: float(f"{v:.4g}") for k, v in row.items()})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)

    if not options.quick:
        other_side = (
            "torch.compile" if options.compile else "another checkout" if options.against else "straightforward"
        )
        about = {
            "threads": options.threads,
            "clock": options.clock,
            "dtype": options.dtype,
            "other": other_side,
            **records.environment(device),
        }
        records.write(options.output, [row | about for row in rows])


if __name__ == "__main__":
    main()
