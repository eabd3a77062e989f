"""What a run has to know of the machine it is on."""

from __future__ import annotations

import sys

import psutil
import torch

from fedlib.errors import InputError


def pick_device(device: str) -> torch.device:
    """``auto``: CUDA where there is one, else the CPU."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f'device must be auto, cpu or cuda, not "{device}".')
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here: use --device cpu or auto.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def default_chunk(device: torch.device, copy_bytes: int) -> int:
    """Clients trained at once, where one works on ``copy_bytes``: what fits a CPU's cache, many more on a GPU.

    32 on a CPU (measured: ``fedlib bench --only chunk``), fewer where their copies would take more than 16 MiB
    together; 1024 on a GPU, or what fits an eighth of its memory, as gradients and moments come on top. The number for
    a GPU is a first guess; the same benchmark finds the best one where there is a device.
    """
    if device.type == "cpu":
        return max(1, min(32, (16 << 20) // max(1, copy_bytes)))
    room = torch.cuda.mem_get_info(device)[1] // 8
    return max(1, min(1024, room // max(1, copy_bytes)))


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free for the next ones.

    glibc hands large blocks back to the system as soon as they are free, and every step of training then pays for
    fresh pages: up to a third of its time. The limit grows with the largest block that was ever freed, up to 32 MB.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def physical_memory() -> float:
    """The machine's memory in bytes."""
    return float(psutil.virtual_memory().total)


def show_progress(row: dict, rounds: int) -> None:
    """One line on a terminal, overwritten round by round; nothing in a file."""
    if not sys.stderr.isatty():
        return
    metrics = "  ".join(
        f"{name.removeprefix('valid ')} {row[name]:.3f}" for name in row if name.startswith("valid ") and "@10" in name
    )
    end = "\n" if row["round"] == rounds else ""
    print(f"\rround {row['round']}/{rounds}  loss {row['loss']:.4f}  {metrics}", end=end, file=sys.stderr, flush=True)
