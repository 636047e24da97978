"""`zoo train` for torchrun: one training in several processes, on one machine or many.

Two processes on CPU, joined by gloo:

    torchrun --standalone --nproc-per-node=2 -m zoo.cli.launch yolov8n_dattn data=my.yaml device=cpu

All eight GPUs of a machine, joined by NCCL (`zoo train ... device=0,1,2,3,4,5,6,7` starts the same by itself):

    torchrun --standalone --nproc-per-node=8 -m zoo.cli.launch yolov8s_dattn data=my.yaml batch=128

Two machines of eight GPUs; the same line on both, where `first` is the name of one of them, port 29500 is open on it,
and the working directory, the data and the folder of the run are on a file system that both see:

    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=first:29500 --rdzv-id=run1 \
        -m zoo.cli.launch yolov8s_dattn data=my.yaml batch=256 project=/shared/runs

`batch` is that of all processes together. When a process dies, torchrun ends the others, says which it was and exits
with an error; go on with the same line and `<run>/weights/last.pt resume=True` in place of the name and settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from zoo.cli import main as command
from zoo.engine.settings import TRAIN_ONLY, parse_settings
from zoo.errors import ZooError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `zoo train` as one of torchrun's processes, or as the only one.

    Args:
        arguments: As of `zoo train`; those of the process when omitted.

    Returns:
        Exit code, as of `zoo`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        try:
            arguments += _settings_of_group(arguments[1:])
        except ZooError as error:
            print(f"zoo: error: {error}", file=sys.stderr)
            return 1
    code = command(["train", *arguments])
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
    return code


def _settings_of_group(pairs: Sequence[str]) -> list[str]:
    """What all processes must agree on: the GPUs of this machine, and the folder of the run, which the first names."""
    import torch
    from torch.distributed.rendezvous import rendezvous
    from ultralytics.cfg import get_cfg, get_save_dir

    from zoo.engine import quirks

    settings = parse_settings(pairs, also=TRAIN_ONLY)
    added = []
    if settings.get("device") is None and torch.cuda.is_available():
        added.append(f"device={','.join(map(str, range(int(os.environ['LOCAL_WORLD_SIZE']))))}")
    if not settings.get("resume"):
        store, rank, _ = next(rendezvous("env://"))
        key = f"zoo/folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        if rank == 0:
            for name in (*TRAIN_ONLY, "trust"):
                settings.pop(name, None)
            settings = quirks.write_below_working_directory(settings, "train")
            store.set(key, str(get_save_dir(get_cfg(overrides={**settings, "task": "detect", "mode": "train"}))))
        added.append(f"save_dir={store.get(key).decode()}")
    return added


if __name__ == "__main__":
    sys.exit(main())
