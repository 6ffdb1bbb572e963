"""Training: one loop for every recipe."""

from isthmus.training.checkpoint import CheckpointStore
from isthmus.training.history import History
from isthmus.training.loop import train
from isthmus.training.pretrain import pretrain
from isthmus.training.progress import Progress, choose_progress

__all__ = ["CheckpointStore", "History", "Progress", "choose_progress", "pretrain", "train"]
