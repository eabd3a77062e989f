"""What a language model is to the rest of the package: something that answers a list of messages with a text."""

from __future__ import annotations

from collections.abc import Iterable

from fedlib.data import Dataset
from fedlib.errors import InputError
from fedlib.items import SemanticSpace
from fedlib.prototypes.answers import parse
from fedlib.prototypes.feedback import Feedback
from fedlib.prototypes.prompts import BOUNDS, Messages, generation_messages, stricter, updating_messages
from fedlib.prototypes.summary import summary_of

Written = tuple[tuple[str, ...], str]  # prototypes, and a note about how they came about


class Chat:
    """A chat model writes prototypes through the two prompts; a subclass says how it answers."""

    @property
    def source(self) -> str:
        """Who answers; every result says so."""
        raise NotImplementedError

    def answer(self, messages: Messages) -> str:
        """The model's answer to ``messages``, as it gave it."""
        raise NotImplementedError

    def first(self, data: Dataset, space: SemanticSpace, count: int, seed: int) -> Written:
        """At most ``count`` prototypes for the items of ``data``; neither the space nor the seed enters the prompt."""
        messages = generation_messages(summary_of(data), count)
        return ask(self, messages, (BOUNDS[0], count), names=data.catalogue["title"])

    def next(self, data: Dataset, space: SemanticSpace, feedback: Feedback) -> Written:
        """The prototypes updated by the clients' counts."""
        messages = updating_messages(feedback.texts, feedback.counts, BOUNDS, counts_mean=feedback.counts_mean)
        return ask(self, messages, BOUNDS, feedback.texts, data.catalogue["title"])


def ask(
    model: Chat,
    messages: Messages,
    allowed: tuple[int, int],
    previous: tuple[str, ...] | None = None,
    names: Iterable[str] = (),
) -> Written:
    """The prototypes that ``model`` answers with, and a note of what did not go as asked.

    An answer with fewer prototypes than ``allowed`` is followed by the stricter prompt, once; if that fails too, the
    ``previous`` set is kept, and the note says so. Raises :class:`InputError` where there is no previous set.
    """
    found, note = parse(model.answer(messages), allowed, names)
    if len(found) >= allowed[0]:
        return found, note
    again, note = parse(model.answer(stricter(messages, allowed)), allowed, names)
    if len(again) >= allowed[0]:
        return again, f"The first answer had {len(found)} usable prototypes; this is the second. {note}".strip()
    failed = f"had {len(found)} and {len(again)} usable prototypes, but at least {allowed[0]} are needed"
    if previous is None:
        raise InputError(f"Two answers of {model.source} {failed}: use another model, or keywords or clusters")
    return previous, f"Two answers {failed}: the previous set was kept."
