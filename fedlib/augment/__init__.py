"""Which outside interactions join a client."""

from fedlib.augment.outside import AllOutside, RandomOutside

__all__ = ["AllOutside", "RandomOutside"]
