"""Every refusal of the model's side.

ModelError
  WeightsRefused        the weights and their spec do not belong together, or cannot be read
  TrainingRefused       a configuration or training data that a network must not learn from
  AtlasRefused          an atlas that is not there, or does not fit
  VolumeRefused         an image that cannot be a CT in HU
  DeviceRefused         the device that was asked for is not there
  FolderTaken           a folder into which another process writes
  NoNumbers             a network's answer that is none; a RuntimeError, as what a GPU raises
"""

from __future__ import annotations


class ModelError(Exception):
    """str(error) is one sentence for a person: what is wrong, in which file, what to do."""


class WeightsRefused(ModelError):
    """These are not weights that may outline anybody."""


class TrainingRefused(ModelError):
    """Nothing may be learnt from this, or not in this way."""


class AtlasRefused(ModelError):
    """There is no atlas here, or none that fits."""


class VolumeRefused(ModelError):
    """No liver may be looked for in this image."""


class DeviceRefused(ModelError):
    """Nothing can be computed there."""


class FolderTaken(ModelError):
    """Two at once would mix what they write."""


class NoNumbers(ModelError, RuntimeError):
    """Nothing may be outlined by this."""
