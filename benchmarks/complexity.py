"""Count parameters and operations of every registered model into `results/models.csv`.

Run: `python -m benchmarks.complexity`. Operations are those of one 640 x 640 image at 80 classes, unfused, counted by
`torch.utils.flop_counter`; a multiply-add is two.
"""

from __future__ import annotations

from pathlib import Path

from zoo import records, registry
from zoo.info import count

TABLE = Path(__file__).parents[1] / "results" / "models.csv"


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
