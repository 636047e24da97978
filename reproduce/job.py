"""What is asked for: a recipe, and one run of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RECIPES = Path(__file__).parent / "recipes"
SMOKE = {"epochs": 1, "batch": 4, "nbs": 4, "warmup_epochs": 0}


@dataclass(frozen=True)
class Recipe:
    """How the models of one data set are trained, `recipes/<name>.yaml`.

    Attributes:
        name: The file's.
        ship: Whether the data's licence lets weights be given away.
        dataset: Where the data comes from and what it must be, for `reproduce.datasets.prepare`.
        train: Ultralytics' training settings, from scratch.
        pretrained: What differs from base weights.
        frozen: What differs further where the base stays as it is.
        tag: Of the weights; the recipe's name where its file gives none.
    """

    name: str
    ship: bool
    dataset: Mapping[str, Any]
    train: Mapping[str, Any]
    pretrained: Mapping[str, Any] = field(default_factory=dict)
    frozen: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""


def recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe that `recipes` names."""
    return Recipe(name, **{"tag": name} | yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Job:
    """One run of a recipe, as asked for on the command line."""

    recipe: str
    model: str
    seed: int = 0
    data: Path | None = None
    cache: Path = Path("runs/datasets")
    runs: Path = Path("runs/reproduce")
    results: Path = ROOT / "results"
    device: str = "cpu"
    base_weights: str | None = None
    freeze_base: str | bool = False
    width: float | None = None
    epochs: int | None = None
    imgsz: int | None = None
    settings: tuple[str, ...] = ()
    finish: bool = False
    download: bool = False
    dry_run: bool = False
    smoke: bool = False
    unverified: bool = False
    ship: bool = False

    @property
    def follows_recipe(self) -> bool:
        """Nothing was overridden that changes the result."""
        return not any((self.smoke, self.unverified, self.width, self.epochs, self.imgsz, self.settings))

    @property
    def directory(self) -> Path:
        """Where Ultralytics and this package leave everything of the run."""
        words = [self.model, f"s{self.seed}"]
        words += [
            f"{key}{value}" for key, value in {"w": self.width, "e": self.epochs, "i": self.imgsz}.items() if value
        ]
        words += ["pretrained"] if self.base_weights else []
        words += ["norm" if self.freeze_base == "norm" else "frozen"] if self.freeze_base else []
        words += [*self.settings, *(["smoke"] if self.smoke else [])]
        return (self.runs / self.recipe / "-".join(words)).absolute()

    @property
    def command(self) -> str:
        """The command line that repeats the run; of files of this machine it says the name."""
        words = ["python", "-m", "reproduce", self.recipe, "--model", self.model, "--seed", str(self.seed)]
        words += ["--width", str(self.width)] if self.width else []
        words += ["--epochs", str(self.epochs)] if self.epochs else []
        words += ["--imgsz", str(self.imgsz)] if self.imgsz else []
        words += ["--base-weights", Path(self.base_weights).name] if self.base_weights else []
        words += ["--freeze-base", *(["norm"] if self.freeze_base == "norm" else [])] if self.freeze_base else []
        words += [word for pair in self.settings for word in ("--set", pair)]
        words += ["--data", "PATH"] if self.data else []
        return shlex.join(words)

    def training(self) -> dict[str, Any]:
        """The training settings of the recipe in the job's regime, with the job's changes.

        Raises:
            OptionError: A `--set` is not a setting of Ultralytics.
        """
        from zoo.engine.settings import parse_settings

        recipe = load_recipe(self.recipe)
        return {
            **recipe.train,
            **(recipe.pretrained if self.base_weights else {}),
            **(recipe.frozen if self.freeze_base else {}),
            **(SMOKE if self.smoke else {}),
            **({"epochs": self.epochs} if self.epochs else {}),
            **({"imgsz": self.imgsz} if self.imgsz else {}),
            **parse_settings(self.settings),
        }
