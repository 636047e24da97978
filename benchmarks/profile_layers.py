"""Where the time of each attention block goes, ours and the straightforward one, into `results/profile_layers.csv`.

Run: `python -m benchmarks.profile_layers`. A row is one kind of operator in one block at one level: milliseconds and
share of a forward in `inference_mode`, on both sides. `bound` says how far the ratio to the straightforward code could
rise if our side did nothing but operators of this kind, in the time that they take now: where it is below a target, the
target needs a faster kernel, not another arrangement. Medians of the operators' own times; what Python does between
them is not counted. `--clock thread` counts the processor time of the main thread, for a machine that is not idle.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.layers import BLOCKS, LEVELS, TIMM, TimmHalo
from zoo import records

CLOCKS = {"wall": time.perf_counter, "thread": time.thread_time}
TABLE = Path(__file__).parents[1] / "results" / "profile_layers.csv"
KINDS = {
    "convolution": ("conv",),
    "attention": ("scaled_dot_product",),
    "product of matrices": ("linear", "matmul", "mm", "einsum"),
    "softmax": ("softmax",),
    "normalisation": ("layer_norm",),
    "sampling": ("grid_sample",),
    "activation": ("gelu", "tanh", "relu", "sigmoid"),
    "copy or gather": ("contiguous", "reshape", "index", "cat", "stack", "im2col", "roll", "pad", "repeat"),
    "sum or mask": ("add", "mul", "masked_fill", "where", "sub", "div", "ne."),
}


def kind_of(operator: str) -> str:
    """The row that an operator, `aten.NAME.OVERLOAD`, is counted in."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), "other")


class Stopwatch(TorchDispatchMode):
    """Milliseconds of every operator by its kind, since `times` was last cleared."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.times: dict[str, float] = collections.defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = self.clock()
        result = func(*args, **(kwargs or {}))
        self.times[kind_of(str(func))] += (self.clock() - start) * 1e3
        return result


@torch.inference_mode()
def milliseconds(block: nn.Module, x: Tensor, forwards: int, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of a forward by kind of operator, the median of several."""
    rounds = []
    with Stopwatch(clock) as stopwatch:
        block(x)
        for _ in range(forwards):
            stopwatch.times.clear()
            block(x)
            rounds.append(dict(stopwatch.times))
    return {kind: statistics.median(times[kind] for times in rounds) for kind in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", nargs="+", choices=[*BLOCKS, TIMM], default=[*BLOCKS, TIMM])
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--forwards", type=int, default=20)
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    about = {"threads": options.threads, "clock": options.clock} | records.environment()

    rows = []
    for name in options.blocks:
        make, straightforward = BLOCKS[name.removesuffix(" / timm")]
        for level in options.levels:
            dim, size = LEVELS[level]
            ours = make(dim).eval()
            other = (TimmHalo(ours) if name == TIMM else straightforward(ours)).eval()
            x = torch.randn(1, dim, size, size)
            sides = [milliseconds(block, x, options.forwards, CLOCKS[options.clock]) for block in (ours, other)]
            total, other_total = (sum(side.values()) for side in sides)
            for kind in (*KINDS, "other"):
                ms, other_ms = (side.get(kind, 0.0) for side in sides)
                numbers = {
                    "ms": ms,
                    "share": ms / total,
                    "other_ms": other_ms,
                    "other_share": other_ms / other_total,
                    "bound": other_total / ms if ms else float("inf"),
                }
                rows.append({"block": name, "level": level, "operators": kind})
                rows[-1] |= {key: float(f"{value:.3g}") for key, value in numbers.items()} | about
            print(f"{name}, {level}: {total:.2f} ms, {other_total:.2f} ms", flush=True)

    records.write(options.output, rows)


if __name__ == "__main__":
    main()
