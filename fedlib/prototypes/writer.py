"""What a language model is to the rest of the package: something that answers a list of messages with a text."""

from __future__ import annotations

from fedlib.prototypes.prompts import Messages


class Chat:
    """A chat model."""

    @property
    def source(self) -> str:
        """Who answers; every result says so."""
        raise NotImplementedError

    def answer(self, messages: Messages) -> str:
        """The model's answer to ``messages``, as it gave it."""
        raise NotImplementedError
