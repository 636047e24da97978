"""Count parameters and operations of every registered model into `results/models.csv`.

Run: `python -m benchmarks.complexity`. Operations are those of one 640 x 640 image at 80 classes, unfused, counted by
`torch.utils.flop_counter`; a multiply-add is two.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo import records, registry
from zoo.config import ModelConfig
from zoo.detector import build

TABLE = Path(__file__).parents[1] / "results" / "models.csv"


def count(config: ModelConfig, imgsz: int = 640) -> tuple[int, float]:
    """Parameters, and operations in 1e9, of one square image."""
    model = build(config)
    return sum(parameter.numel() for parameter in model.parameters()), gflops(model, imgsz)


def gflops(model: torch.nn.Module, imgsz: int) -> float:
    """Operations of one square image through a model in eval mode, in 1e9, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, imgsz, imgsz))
    return counter.get_total_flops() / 1e9


def main() -> None:
    counted = {name: count(registry.get_config(name)) for name in registry.names()}
    rows = []
    for name, (params, gflops) in counted.items():
        base = registry.get_config(name).base_name
        base_params, base_gflops = counted[base]
        rows.append({"name": name, "base": base, "params": params, "gflops": f"{gflops:.3f}"})
        rows[-1] |= {"base_params": base_params, "base_gflops": f"{base_gflops:.3f}"}
    records.write(TABLE, rows)


if __name__ == "__main__":
    main()
