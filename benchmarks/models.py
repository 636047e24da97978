"""Latency of whole models against their plain bases, into `results/benchmark_models.csv`.

Run: `python -m benchmarks.models`. Model and base are fused, channels-last, carry the same stock weights and open
gates, and are timed in one process, in turns, at 640 x 640 in `inference_mode`. `ms` is the median of a forward.
The widened plain model, the size control of `docs/PROTOCOL.md`, has a row too.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.layers import CLOCKS, time_in_turns
from zoo import records, registry
from zoo.config import ModelConfig
from zoo.detector import build

TABLE = Path(__file__).parents[1] / "results" / "benchmark_models.csv"

WIDENED = replace(registry.get_config("yolov8n"), width=0.27)


def prepare(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """The model as it would be deployed, with gates that a compiler cannot take for zero."""
    torch.manual_seed(0)
    model = build(config)
    for graft in model.grafts.values():
        torch.nn.init.normal_(graft.gamma)
    return model.fuse(verbose=False).to(device, dtype, memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", nargs="+", default=["n", "s"], choices=list("nsmlx"))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)

    rows = []
    for config in (*map(registry.get_config, registry.names()), WIDENED):
        if config.scale not in options.scales or config == registry.get_config(config.base_name):
            continue
        model = prepare(config, device, dtype)
        base = prepare(registry.get_config(config.base_name), device, dtype)
        for batch in options.batches:
            x = torch.rand(batch, 3, options.imgsz, options.imgsz, device=device, dtype=dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                calls = [lambda m=m, x=x: m(x) for m in (model, base)]
                ms, base_ms = time_in_turns(calls, options.seconds, device, CLOCKS["wall"])
            row = {"model": config.name, "width": config.width or "", "base": config.base_name}
            row |= {"batch": batch, "imgsz": options.imgsz}
            rows.append(row | {"ms": f"{ms:.2f}", "base_ms": f"{base_ms:.2f}", "ratio": f"{ms / base_ms:.3f}"})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)

    about = {"threads": options.threads, "dtype": options.dtype} | records.environment(device)
    records.write(options.output, [row | about for row in rows])


if __name__ == "__main__":
    main()
