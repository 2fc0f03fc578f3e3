"""Training of the liver network; train(load_config("published"), ...) is the whole of it."""

from liver_unet.training.config import TrainingConfig, load_config
from liver_unet.training.loop import train

__all__ = ["TrainingConfig", "load_config", "train"]
