"""Checkpoints that resume exactly: safetensors and JSON, written completely or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isthmus.atomic import write_whole
from isthmus.errors import ArtifactError

FORMAT = 1
FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class CheckpointStore:
    """One checkpoint in a folder; a newer one replaces it at once.

    Attributes:
        folder: where it is written; created by the first save.
        digest: of the recipe and the data; a checkpoint of others is refused.
    """

    folder: Path
    digest: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / FILE

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write the checkpoint. The state is in the file's header, so tensors and state cannot disagree."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": str(FORMAT), "digest": self.digest, "state": json.dumps(state)}
        metadata["sha256"] = _hash(tensors, metadata["state"])
        # Not `save_file`: it leaves temporary files of its own naming behind when the process is killed.
        content = save(tensors, metadata)
        write_whole(self.path, content)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the checkpoint; None if there is none.

        Raises:
            ArtifactError: if it is damaged, newer, or of another recipe or other data.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            state = json.loads(metadata["state"])
            if metadata["sha256"] != _hash(tensors, metadata["state"]):
                raise ValueError("its SHA-256 differs")
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise ArtifactError(
                f"the checkpoint {str(self.path)!r} is damaged ({error}); try again without resuming"
            ) from None
        if metadata.get("format") != str(FORMAT):
            raise ArtifactError(
                f"the checkpoint {str(self.path)!r} has format {metadata.get('format')}, this isthmus reads {FORMAT}; "
                "try the release that wrote it"
            )
        if metadata.get("digest") != self.digest:
            raise ArtifactError(
                f"the checkpoint {str(self.path)!r} is of another recipe or of other data; try the command that it was "
                "made with, or start again without resuming"
            )
        return tensors, state

    def remove(self) -> None:
        """Delete the checkpoint and the files of an interrupted save, and the folder if nothing else is in it."""
        self.path.unlink(missing_ok=True)
        for leftover in self.folder.glob(f".{FILE}.*"):
            leftover.unlink(missing_ok=True)
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _hash(tensors: dict[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
