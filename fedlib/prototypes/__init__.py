"""Semantic prototypes: the kinds of items by which clients choose their samples (FedSLLM)."""

from fedlib.prototypes.keywords import KeywordPrototyper
from fedlib.prototypes.local import ChatModel
from fedlib.prototypes.recorded import RecordedAnswers, Recording
from fedlib.prototypes.server import ChatServer
from fedlib.prototypes.sets import ClusterPrototypes, PrototypeSet, TextPrototypes

__all__ = [
    "ChatModel",
    "ChatServer",
    "ClusterPrototypes",
    "KeywordPrototyper",
    "PrototypeSet",
    "RecordedAnswers",
    "Recording",
    "TextPrototypes",
]
