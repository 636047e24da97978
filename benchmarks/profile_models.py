"""Where the time of the grafts of whole models goes, by kind of operator, into `results/profile_models.csv`.

Run: `python -m benchmarks.profile_models`, for the models that miss, or barely meet, a target of latency over their
base. Each graft is run alone on the map that it gets in the model as `benchmarks.models` times it, in turns with the
plain base. A row is one kind of operator in one graft, medians in milliseconds and over a forward of the base; in the
row `all`, the graft is on a clock of its own, without the stopwatch in every operator, and after the base ran.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.layers import time_in_turns
from benchmarks.models import prepare
from benchmarks.profile_layers import milliseconds
from zoo import records
from zoo.registry import get_config

TABLE = Path(__file__).parents[1] / "results" / "profile_models.csv"
MODELS = (
    "yolov8n+ema@neck_p3,neck_p4,neck_p5",
    "yolov8n+coord@neck_p3,neck_p4,neck_p5",
    "yolov8n_dattn",
    "yolo11n_dattn",
    "yolov8n_hat_stem",
    "yolov8n+biformer@neck_p5",
)


@torch.inference_mode()
def inputs_of(grafts: nn.ModuleDict, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The map that each graft gets when the model is run on `x`, by position."""
    maps: dict[str, Tensor] = {}
    hooks = [
        graft.register_forward_pre_hook(lambda _, given, position=position: maps.update({position: given[0]}))
        for position, graft in grafts.items()
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each graft and each base")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    x = torch.rand(1, 3, options.imgsz, options.imgsz).contiguous(memory_format=torch.channels_last)

    rows = []
    for name in options.models:
        config = get_config(name)
        model = prepare(config, device, torch.float32)
        base = prepare(get_config(config.base_name), device, torch.float32)
        maps = inputs_of(model.grafts, model, x)
        with torch.inference_mode():
            calls = [partial(base, x), *(partial(model.grafts[position], given) for position, given in maps.items())]
            base_ms, *graft_ms = time_in_turns(calls, options.seconds * len(calls), device, time.perf_counter)
        for (position, given), whole in zip(maps.items(), graft_ms, strict=True):
            kinds = milliseconds(model.grafts[position], given, 20, time.perf_counter)
            for kind, ms in ({"all": whole} | kinds).items():
                rows.append({"model": name, "position": position, "map": "x".join(map(str, given.shape[1:]))})
                rows[-1] |= {"operators": kind, "ms": f"{ms:.3f}", "of_base": f"{ms / base_ms:.4f}"}
                rows[-1] |= {"base_ms": f"{base_ms:.2f}", "imgsz": options.imgsz, "threads": options.threads}
            print(f"{name}, {position}: {whole:.2f} ms of {base_ms:.2f} ms", flush=True)
    about = records.environment()
    records.write(options.output, [row | about for row in rows])


if __name__ == "__main__":
    main()
