"""Latency of whole models against their plain bases, into `results/benchmark_models.csv`.

Run: `python -m benchmarks.models`. Model and base are fused, channels-last, carry the same stock weights and open
gates, and are timed in one process, in turns, at 640 x 640 in `inference_mode`. `ms` is the median of a forward. Where
memory lies moves a ratio by some hundredths for as long as two models live, so both are built three times for each row,
which is the one of the median ratio.
The widened plain model, the size control of `docs/PROTOCOL.md`, has a row too, and so have the blocks that have no
registered model: light ones on the three maps of the neck, heavier ones on the deepest. Rows are written after each
model, and those of models that are not measured stay; `--missing` goes on where a run was stopped.
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
LIGHT = ("se", "eca", "ge", "gc", "cbam", "coord", "simam", "ema")
HEAVY = ("lska", "gam", "biformer")
BLOCKS = [f"yolov8n+{block}@neck_p3,neck_p4,neck_p5" for block in LIGHT]
BLOCKS += [f"yolov8n+{block}@neck_p5" for block in HEAVY]
KEY = ("model", "width", "batch", "imgsz", "threads", "dtype")


def prepare(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """The model as it would be deployed, with gates that a compiler cannot take for zero."""
    torch.manual_seed(0)
    model = build(config)
    for graft in model.grafts.values():
        torch.nn.init.normal_(graft.gamma)
    return model.fuse(verbose=False).to(device, dtype, memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", help="names, registered or not; all of the scales, and BLOCKS, if omitted"
    )
    parser.add_argument("--scales", nargs="+", default=["n", "s"], choices=list("nsmlx"))
    parser.add_argument("--missing", action="store_true", help="only what the table has no row for")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: less disturbed by other programs")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row")
    parser.add_argument("--builds", type=int, default=3, help="of both models for each row, which is the median one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)

    if options.models:
        configs = [registry.get_config(name) for name in options.models]
    else:
        configs = [*map(registry.get_config, [*registry.names(), *BLOCKS]), WIDENED]
        configs = [config for config in configs if config.scale in options.scales]
    about = {"threads": options.threads, "dtype": options.dtype} | records.environment(device)
    rows = {tuple(row[key] for key in KEY): row for row in records.read(options.output)}
    for config in configs:
        if not config.grafts and config.width is None:
            continue
        for batch in options.batches:
            case = {"model": config.name, "width": config.width or "", "base": config.base_name}
            case |= {"batch": batch, "imgsz": options.imgsz}
            key = tuple(str((case | about)[column]) for column in KEY)
            if options.missing and key in rows:
                continue
            found = []
            for _ in range(options.builds):
                model = prepare(config, device, dtype)
                base = prepare(registry.get_config(config.base_name), device, dtype)
                x = torch.rand(batch, 3, options.imgsz, options.imgsz, device=device, dtype=dtype)
                x = x.contiguous(memory_format=torch.channels_last)
                with torch.inference_mode():
                    calls = [lambda m=m, x=x: m(x) for m in (model, base)]
                    ms, base_ms = time_in_turns(calls, options.seconds / options.builds, device, CLOCKS[options.clock])
                found.append((ms / base_ms, ms, base_ms))
            ratio, ms, base_ms = sorted(found)[len(found) // 2]
            times = {"ms": f"{ms:.2f}", "base_ms": f"{base_ms:.2f}", "ratio": f"{ratio:.3f}"}
            print(", ".join(f"{key} {value}" for key, value in (case | times).items()), flush=True)
            rows[key] = case | times | about
            records.write(options.output, list(rows.values()))


if __name__ == "__main__":
    main()
