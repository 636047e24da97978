"""The one family of exceptions that this package raises on purpose.

Each message says what was wrong, what was found, and what to do next. Every class also derives from the built-in
exception a caller would expect, so `except FileNotFoundError` keeps working.
"""

from __future__ import annotations


class ZooError(Exception):
    """Base of every error that the zoo raises on purpose."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnknownModelError(ZooError, KeyError):
    """No registered model has this name."""


class UnknownTagError(ZooError, KeyError):
    """The model exists, the tag after the dot does not."""


class ConfigError(ZooError, ValueError):
    """A configuration is malformed, or names a base, scale, position or block that does not exist."""


class UnknownBlockError(ConfigError, KeyError):
    """No attention block has this name, or it is a user's own and this process has not registered it."""


class ChannelError(ZooError, ValueError):
    """An attention block cannot take these channels, heads or window sizes."""


class WeightsError(ZooError):
    """Base of everything that can be wrong with a weights file or the list of them."""


class NoWeightsError(WeightsError, LookupError):
    """The model has no trained weights."""


class SourceError(WeightsError, OSError):
    """No source of a weights file answered."""


class IntegrityError(WeightsError, ValueError):
    """A file's size or sha256 differs from the manifest's."""


class FormatError(WeightsError, ValueError):
    """A file is truncated, not safetensors, or a pickle that needs more than tensors."""


class StateDictError(WeightsError, ValueError):
    """Tensors are missing, unexpected, of the wrong shape or not finite; none was loaded."""


class ManifestError(WeightsError, ValueError):
    """`weights_manifest.json` is malformed."""


class HubError(ZooError, OSError):
    """The Hugging Face Hub refused or failed a request."""


class DataError(ZooError, ValueError):
    """Images, labels or a data YAML are missing, empty or out of range."""


class OptionError(ZooError, ValueError):
    """A training or command-line option is unknown or has an impossible value."""


class CheckpointError(ZooError, OSError):
    """A training checkpoint cannot be written; the one before it is untouched."""


class SweepError(ZooError, RuntimeError):
    """Some jobs of a sweep failed; the others are recorded."""


def one_line(error: object) -> str:
    """The text of an error, or of what a library said of one, without line breaks and runs of spaces."""
    return " ".join(str(error).split())
