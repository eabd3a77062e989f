"""A way around a torchvision whose compiled operators do not fit the installed torch."""

from __future__ import annotations

import importlib
import sys

import torch

_LIBRARY: list[torch.library.Library] = []  # its operators are gone when it is


def ensure_torchvision() -> None:
    """Make ``import torchvision`` work where only its compiled operators do not load; to be called before transformers.

    torchvision from a package index is linked against CUDA, so beside a CPU torch its import ends in "operator
    torchvision::nms does not exist", and that of transformers with it. Nothing here calls the operator: declaring it is
    enough. Where torchvision is sound or absent, this does nothing.
    """
    try:
        importlib.import_module("torchvision")
        return
    except ImportError:
        return
    except RuntimeError as err:
        if "torchvision::nms" not in str(err):
            raise
    for name in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARY.append(library)
    importlib.import_module("torchvision")
