"""Where item vectors come from."""

from fedlib.items.lsa import LSA
from fedlib.items.semantic import SemanticSpace, SemanticTable
from fedlib.items.sentences import MiniLM, SentenceEncoder
from fedlib.items.table import ItemTable
from fedlib.items.texts import item_texts

__all__ = ["LSA", "ItemTable", "MiniLM", "SemanticSpace", "SemanticTable", "SentenceEncoder", "item_texts"]
