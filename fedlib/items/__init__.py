"""Where item vectors come from."""

from fedlib.items.semantic import SemanticSpace, SemanticTable
from fedlib.items.table import ItemTable
from fedlib.items.texts.catalogue import item_texts
from fedlib.items.texts.lsa import LSA
from fedlib.items.texts.sentences import MiniLM, SentenceEncoder

__all__ = ["LSA", "ItemTable", "MiniLM", "SemanticSpace", "SemanticTable", "SentenceEncoder", "item_texts"]
