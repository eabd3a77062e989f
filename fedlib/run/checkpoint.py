"""Saving a state so that neither a crash nor a power cut can lose it: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedlib.errors import InputError
from fedlib.files import replacing
from fedlib.server.ledger import Ledger

if TYPE_CHECKING:
    from fedlib.engine.state import State


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and a JSON-able description to one file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: value.contiguous() for name, value in tensors.items()}
    with replacing(path) as new:
        save_file(whole, new, metadata={"about": json.dumps(about)})


def load_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`save_tensors` wrote. Raises InputError for a file that is missing or not one of ours."""
    try:
        with safe_open(path, framework="pt", device=device) as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if sys.platform == "win32":  # which neither replaces nor removes a file that memory mirrors
                tensors = {name: value.clone() for name, value in tensors.items()}
            return tensors, about
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as err:
        raise InputError(
            f"{path} is not a readable fedlib file ({type(err).__name__}): delete it, or name another."
        ) from err


class Checkpoints:
    """The checkpoints of one run in a folder, ``round-000010.safetensors`` and so on; the newest two are kept.

    ``config`` is everything that shapes the numbers; a run with another one refuses to go on from here.
    With ``folder=None`` nothing is saved.
    """

    def __init__(self, folder: str | Path | None, config: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.config = json.loads(json.dumps(config))

    def files(self) -> list[Path]:
        """The finished checkpoints, oldest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(file for file in self.folder.iterdir() if re.fullmatch(r"round-\d{6}\.safetensors", file.name))

    def save(self, state: State, history: list[dict], ledger: Ledger) -> None:
        """Save a state; the previous checkpoint survives until the new one is complete."""
        if self.folder is None:
            return
        about = {"config": self.config, "round": state.round, "history": history, "ledger": ledger.rows}
        save_tensors(self.folder / f"round-{state.round:06d}.safetensors", state.tensors(), about)
        # One run writes here at a time, so a temporary name is what a killed process has left.
        for old in [*self.files()[:-2], *self.folder.glob(".round-*.part")]:
            old.unlink()

    def begin(self, state: State, rounds: int, *, resume: bool) -> tuple[list[dict], Ledger]:
        """The history and ledger to go on from, with the newest checkpoint loaded into ``state`` if there is one.

        Raises InputError for checkpoints of another run, past ``rounds``, or where a new run was asked for.
        """
        files = self.files()
        if not files:
            return [], Ledger()
        if not resume:
            raise InputError(f"{self.folder} already holds checkpoints: resume from them, or choose another folder.")
        tensors, about = load_tensors(files[-1], str(state.device))
        different = [key for key in self.config if about["config"].get(key) != self.config[key]]
        if different:
            raise InputError(
                f"The checkpoint {files[-1]} belongs to another run (different: {', '.join(different)}): "
                "choose another folder, or the same settings."
            )
        if about["round"] > rounds:
            raise InputError(
                f"The checkpoint {files[-1]} is past round {rounds}: ask for at least {about['round']} rounds."
            )
        state.load(about["round"], tensors)
        return about["history"], Ledger(about["ledger"])
