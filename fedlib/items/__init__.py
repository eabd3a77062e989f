"""Where item vectors come from."""

from fedlib.items.table import ItemTable

__all__ = ["ItemTable"]
