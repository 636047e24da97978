"""Random detectors whose outputs depend on their inputs."""

from __future__ import annotations

import torch
from torch import nn

from zoo.detector import GraftedDetectionModel


def make_alive(model: GraftedDetectionModel, gamma: float = 0.5) -> GraftedDetectionModel:
    """Open the grafts' gates and give batch norms the statistics of noise.

    Without that an untrained YOLO shrinks every activation to nothing and answers all images alike, which would let
    any comparison of outputs pass.
    """
    generator = torch.Generator().manual_seed(0)
    for graft in model.grafts.values():
        nn.init.normal_(graft.gamma, std=gamma, generator=generator)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(4, 3, 96, 96, generator=generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
