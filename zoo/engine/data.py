"""What is wrong with a data set, said before training starts; Ultralytics skips bad files with a warning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

from zoo.engine import quirks
from zoo.errors import DataError, one_line

LOGGER = logging.getLogger("zoo")

SHOWN = 5


def read(file: str | Path, split: str = "val") -> dict[str, Any]:
    """Read a data YAML and see that its folders exist.

    Args:
        file: In Ultralytics' format; a relative `path` in it is looked for beside the file first.
        split: The one to validate on.

    Returns:
        Ultralytics' description: `names`, `nc`, `channels`, `path`, and an absolute path for every split.

    Raises:
        DataError: The file or a folder is missing, or `names`, `nc`, `train` or `val` is missing or wrong.
    """
    _check_class_numbers(file)
    quirks.provide_font()  # which Ultralytics would look for on GitHub now
    try:
        with quirks.data_beside_its_yaml():
            found = check_det_dataset(file, autodownload=False)
    except (
        OSError,
        SyntaxError,
        TypeError,
        ValueError,
        KeyError,
        AssertionError,
        AttributeError,
        yaml.YAMLError,
    ) as error:
        raise DataError(f"data={file} cannot be used: {one_line(error)}{_relative_path_hint(file)}") from error
    if "yaml_file" in found and not yaml.safe_load(Path(found["yaml_file"]).read_text(errors="ignore")).get("names"):
        raise DataError(f"data={file} has no class names; add 'names: [...]', one a class, in the order of the labels.")
    for key in dict.fromkeys(("train", split)):
        places = found.get(key) or []
        if not places:
            raise DataError(f"data={file} has no {key!r} split; add '{key}: <folder of images>'.")
        for place in places if isinstance(places, list) else [places]:
            if not exists(place):
                raise DataError(
                    f"data={file}: the images of {key!r} are missing, there is no {place}.{_relative_path_hint(file)}"
                )
    return found


def exists(places: str | list[str]) -> bool:
    """Whether all places of a split do."""
    return all(Path(place).exists() for place in ([places] if isinstance(places, str) else places))


def _check_class_numbers(file: str | Path) -> None:
    """Refuse `names: {0: a, 2: b}`, which ends in a KeyError deep in the data set."""
    try:
        names = yaml.safe_load(Path(file).read_text(errors="ignore")).get("names")
    except (OSError, AttributeError, yaml.YAMLError):
        return
    if isinstance(names, dict) and set(map(str, names)) != set(map(str, range(len(names)))):
        missing = [str(number) for number in range(len(names)) if number not in names and str(number) not in names]
        raise DataError(
            f"data={file}: names has no class {', '.join(missing[:5])}; {len(names)} classes are numbered "
            f"0 to {len(names) - 1}, found {', '.join(map(str, names))}. Number them anew, in the labels too."
        )


def check_labels(dataset: YOLODataset) -> None:
    """Refuse a data set from which Ultralytics dropped images because they or their labels are bad.

    Args:
        dataset: As Ultralytics built it for training or validation. Its scan of all files is used, not repeated.

    Raises:
        DataError: An image is corrupt, a label is malformed, not finite, outside the image or of an unknown class, or
            no image of the training set has a box.
    """
    total = len(dataset.label_files)  # of all images, those that were dropped included
    if len(dataset.im_files) < total:
        dropped = sorted(set(dataset.get_img_files(dataset.img_path)) - set(dataset.im_files))
        raise DataError(
            f"{len(dropped)} of {total} images of {dataset.img_path} cannot be used; mend or remove them: "
            f"{'; '.join(_reason(dataset, image) for image in dropped[:SHOWN])}"
            f"{f'; and {len(dropped) - SHOWN} more' if len(dropped) > SHOWN else ''}."
        )
    if dataset.augment and not any(len(label["cls"]) for label in dataset.labels):
        raise DataError(
            f"none of the {total} training images in {dataset.img_path} has a box; labels are looked for in "
            f"{Path(dataset.label_files[0]).parent}, one line 'class x_center y_center width height' a box, in [0, 1]."
        )
    unlabelled = [file for file in dataset.label_files if not Path(file).is_file()]
    if unlabelled:
        LOGGER.warning(
            "%d of %d images of %s have no label file and count as background, e.g. %s is missing",
            len(unlabelled),
            total,
            dataset.img_path,
            unlabelled[0],
        )


def _reason(dataset: YOLODataset, image: str) -> str:
    """What Ultralytics' check says about one image and its labels."""
    [labels] = img2label_paths([image])
    classes = len(dataset.data["names"])
    message = verify_image_label((image, labels, "", False, classes, 0, 0, dataset.single_cls))[-1]
    cause = one_line(message).removeprefix(f"{image}: ignoring corrupt image/label: ")
    return f"{image}: {quirks.cause_of_unreadable(cause)} (labels: {labels})"


def _relative_path_hint(file: str | Path) -> str:
    """A reminder for the most common mistake, where it was made."""
    try:
        root = yaml.safe_load(Path(file).read_text(errors="ignore")).get("path")
    except (OSError, AttributeError, yaml.YAMLError):
        return ""
    if root is None or Path(str(root)).is_absolute():
        return ""
    return f" Its 'path: {root}' is looked for beside the file, then in the working directory."
