"""The verb graft: attention on a checkpoint of one's own."""

from __future__ import annotations

from pathlib import Path

from zoo.cli.arguments import Add


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    grafting = add(graft)
    grafting.add_argument("checkpoint", metavar="BEST.pt", help="what Ultralytics or the zoo saved")
    grafting.add_argument("grafts", metavar="GRAFTS", help="e.g. dattn@sppf or 'cbam@neck_p3,neck_p4+eca@p5'")
    grafting.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the model is saved")


def graft(checkpoint: str, grafts: str, out: Path) -> None:
    """Put attention on your own checkpoint.

    Base, scale, task and classes are read from it, and the model predicts what it did before until it is trained:
    zoo train local-dir:DIR data=my.yaml. `zoo list --blocks` has the blocks, `zoo info yolo11n` the places of a base.
    """
    import zoo
    from zoo import factory

    model = factory.graft(checkpoint, grafts)
    zoo.save(model, out)
    print(f"{model.config.name}, {model.config.num_classes} classes; train it with: zoo train local-dir:{out} data=...")
