"""Training options: Ultralytics' own settings and the few that the zoo adds, checked before anything is built."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from zoo.errors import OptionError, one_line
from zoo.names import hint

TRAIN_ONLY = frozenset({"freeze_base"})
NOT_IN_DEFAULTS = frozenset({"augmentations", "save_dir"})
FIXED_BY_VERB = frozenset({"model", "mode", "task"})


def parse_settings(pairs: Sequence[str], *, also: Collection[str] = ()) -> dict[str, Any]:
    """Read `key=value` words.

    `trust` is of `zoo.YOLO`, not of what it then does, and accepted everywhere.

    Args:
        pairs: As on a command line, e.g. `["data=my.yaml", "epochs=50"]`.
        also: Keys to accept beside Ultralytics'.

    Raises:
        OptionError: A word is not of this form, or as `check_settings`.
    """
    from ultralytics.cfg import smart_value

    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise OptionError(f"{pair!r} is not of the form key=value.")
        if key in FIXED_BY_VERB:
            raise OptionError(f"{key!r} cannot be set here; the command itself says it.")
        options[key] = smart_value(value)
    if type(options.get("trust", False)) is not bool:
        raise OptionError(f"trust is True or False, found {options['trust']!r}.")
    check_settings(options, also={*also, "trust"})
    return options


def check_settings(options: Mapping[str, Any], *, also: Collection[str] = ()) -> None:
    """Refuse options that Ultralytics does not know or cannot use.

    Args:
        options: By name.
        also: Names to accept beside Ultralytics'.

    Raises:
        OptionError: A name is unknown (the message has the nearest), or a value is of the wrong type or out of range.
    """
    from ultralytics.cfg import DEFAULT_CFG_DICT, check_cfg

    known = DEFAULT_CFG_DICT.keys() | NOT_IN_DEFAULTS | set(also)
    for key in options:
        if key not in known:
            near = hint(key, known, "Ultralytics' documentation lists all.")
            raise OptionError(f"unknown setting {key!r}. {near}")
    try:
        check_cfg(dict(options))
    except (TypeError, ValueError) as error:
        raise OptionError(one_line(error)) from error
    if isinstance(imgsz := options.get("imgsz"), int) and imgsz < 1:
        raise OptionError(f"imgsz={imgsz} must be at least 1.")
    if isinstance(imgsz, str):
        raise OptionError(
            f"imgsz={imgsz} is no number of pixels; write imgsz=640, or imgsz=[480,640] for height, width."
        )


def check_has_data(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a verb that works on data where they name none.

    Raises:
        OptionError: As said.
    """
    if not settings.get("data"):
        raise OptionError("data=FILE.yaml is missing: it names the images and the classes.")


def check_device(device: str | int | None) -> str | int | None:
    """The device, once it is seen to exist.

    Args:
        device: As Ultralytics takes it; `None` for its choice, which always exists.

    Raises:
        OptionError: It does not exist.
    """
    from ultralytics.utils.torch_utils import select_device

    try:
        chosen = select_device("" if device is None else device, verbose=False)
        if "mps" in str(device) and "mps" not in str(chosen):
            raise ValueError(device)  # for which Ultralytics takes the CPU without a word
    except (ValueError, RuntimeError, AssertionError) as error:
        import torch

        found = f"cuda:0 to cuda:{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else "no CUDA device"
        raise OptionError(f"device {device!r} is not available; PyTorch sees {found}. Use device cpu.") from error
    return device
