"""The models of the zoo, one family a file; importing this package registers them all."""

from zoo.models import a2, cbam, dattn, eca, halo, hat, plain

__all__ = ["a2", "cbam", "dattn", "eca", "halo", "hat", "plain"]
