"""Validation on other classes than a model's: refused, or of the classes that both call alike."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import ConfusionMatrix

from zoo.errors import DataError, OptionError

MATCH = "match"
LISTED = 20

logger = logging.getLogger("zoo")


def refuse_others(model: Mapping[int, str], data: Mapping[int, str]) -> None:
    """Refuse data whose classes are not the model's, in number, name or order.

    Args:
        model: Class names of the weights; numbers stand for names that are not known.
        data: Those of the data YAML.

    Raises:
        DataError: With both lists.
    """
    nameless = list(model.values()) == [str(index) for index in range(len(model))]
    if len(model) == len(data) and (nameless or list(model.values()) == list(data.values())):
        return
    raise DataError(
        f"these weights know other classes than the data: the weights {_listed(model)}; the data {_listed(data)}. "
        "Boxes would be scored under the wrong names. Give data with the same classes in the same order, or "
        "classes=match to validate on those that both call alike."
    )


def matched(model: Mapping[int, str], data: Mapping[int, str]) -> dict[int, int]:
    """Number of each class of the model that the data have too, to its number there.

    Raises:
        DataError: There is none.
    """
    numbers = {name.casefold(): index for index, name in data.items()}
    found = {index: numbers[name.casefold()] for index, name in model.items() if name.casefold() in numbers}
    if not found:
        raise DataError(
            f"no class of the weights is one of the data: the weights {_listed(model)}; the data {_listed(data)}."
        )
    left_out = [name for index, name in data.items() if index not in found.values()]
    if left_out:
        logger.warning("classes that the weights do not know are left out: %s", ", ".join(left_out))
    return found


def validator_of(
    stock: type[BaseValidator], classes: Mapping[int, int], names: Mapping[int, str]
) -> type[DetectionValidator]:
    """A validator that scores predictions under the data's classes, and drops those the data do not have.

    Args:
        stock: Of the model's task.
        classes: As of `matched`.
        names: Of the data.

    Raises:
        OptionError: The task is not detection.
    """
    if stock is not DetectionValidator:
        raise OptionError(f"classes={MATCH} is for detection; {stock.__name__} cannot match classes by name.")

    class Matching(DetectionValidator):
        def init_metrics(self, model: nn.Module) -> None:
            super().init_metrics(model)
            self.names = self.metrics.names = dict(names)
            self.nc, self.class_map = len(names), list(range(1, len(names) + 1))
            self.confusion_matrix = ConfusionMatrix(names=self.names)

        def postprocess(self, preds: Any) -> list[dict[str, Any]]:
            found = super().postprocess(preds)
            for pred in found:
                own = pred["cls"].clone()
                known = own.new_zeros(own.shape).bool()
                for mine, theirs in classes.items():
                    pred["cls"][own == mine] = theirs
                    known |= own == mine
                for key, value in pred.items():
                    pred[key] = value[known]
            return found

    return Matching


def _listed(names: Mapping[int, str]) -> str:
    shown = ", ".join(list(names.values())[:LISTED])
    return f"{len(names)} ({shown}{', ...' if len(names) > LISTED else ''})"
