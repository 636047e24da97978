"""One process of a torchrun: `zoo.cli.launch` with an eye on the parameters.

Arguments: what to do to the training (`joined`, `apart`, `killed`), where to write the parameters, and those of
`zoo train`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from ultralytics.utils import RANK
from ultralytics.utils.callbacks.base import default_callbacks
from ultralytics.utils.torch_utils import unwrap_model

import zoo.engine.quirks
from zoo.cli.launch import main


class Apart:
    """In place of `DistributedDataParallel`: the model alone."""

    def __new__(cls, model, **_):
        return model


how, folder, *arguments = sys.argv[1:]
if how == "apart":
    zoo.engine.quirks.DistributedDataParallel = Apart


dtypes = set()


def watch(trainer):
    first = unwrap_model(trainer.model).model[0].conv
    first.register_forward_hook(lambda part, _, output: dtypes.add(output.dtype) if part.training else None)


def note(trainer):
    state = {"weights": unwrap_model(trainer.model).state_dict(), "loss": trainer.tloss, "folder": trainer.save_dir}
    state["dtypes"] = dtypes
    torch.save(state, Path(folder) / f"{RANK}.pt")


def die(trainer):
    if how == "killed" and RANK == 1 and trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)


default_callbacks["on_train_start"].append(watch)
default_callbacks["on_train_epoch_end"].append(note)
default_callbacks["on_train_batch_start"].append(die)
sys.exit(main(arguments))
