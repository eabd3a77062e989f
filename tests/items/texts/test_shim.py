"""The way around a torchvision that does not load."""

from __future__ import annotations

import importlib.util

import pytest

from tests.command_line import python


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_torchvision_and_what_builds_on_it_load() -> None:
    """A bug that happened: beside a CPU torch, torchvision's operators do not load, and then transformers neither."""
    code = (
        "from fedlib.items.texts.shim import ensure_torchvision; ensure_torchvision(); ensure_torchvision();"
        "import torchvision.transforms; from transformers import PreTrainedModel"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
