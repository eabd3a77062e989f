"""Data sets: interactions with a catalogue, how they are split, and where they come from."""

from fedlib.data.interactions import Dataset, Split
from fedlib.data.log import UserItems
from fedlib.data.shop import synthetic
from fedlib.data.sources import check, fetch, load, names

__all__ = ["Dataset", "Split", "UserItems", "check", "fetch", "load", "names", "synthetic"]
