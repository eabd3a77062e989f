"""Answers of language models kept with the exact prompts that they answer, for a computer without a model.

A record is a JSON list of objects with ``dataset``, ``purpose`` (``generate`` or ``update``), ``messages`` (the
prompt: a list of ``{"role": ..., "content": ...}``), ``answer`` (as the model gave it), ``model`` and ``date`` (of the
answer, YYYY-MM-DD). The package carries one, ``recorded.json``.
"""

from __future__ import annotations

import datetime
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from fedlib.errors import InputError
from fedlib.files import write_text
from fedlib.prototypes.chat import Chat
from fedlib.prototypes.prompts import Messages, purpose_of

PACKAGED = Path(__file__).with_name("recorded.json")
_TEXTS = ("dataset", "purpose", "answer", "model", "date")


class RecordedAnswers(Chat):
    """The answer on record to a prompt, from ``file``; without one, from the record that comes with the package.

    A prompt is found by its exact messages; of several answers the last one counts. Nothing stands in for an answer
    that is not on record.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self.file = PACKAGED if file is None else Path(file)

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        return read_record(self.file)

    @property
    def source(self) -> str:
        """``recorded: MODEL, DATE`` for every model in the record, with the date of its first answer.

        An answer that is added later leaves the name as it is, so that a run which lacked it can go on.
        """
        first: dict[str, str] = {}
        for entry in self._records:
            first[entry["model"]] = min(entry["date"], first.get(entry["model"], entry["date"]))
        return "recorded: " + "; ".join(f"{model}, {date}" for model, date in sorted(first.items()))

    def answer(self, messages: Messages) -> str:
        """The answer to exactly these messages. Raises :class:`InputError` if there is none."""
        found = [record["answer"] for record in self._records if record["messages"] == messages]
        if not found:
            raise InputError(
                f"{self.file} has no answer to this {purpose_of(messages)} prompt, whose last message begins "
                f"{messages[-1]['content'][:80]!r}: let a model answer through "
                "fedlib.prototypes.recorded.Recording(model, file, dataset), and name that file"
            )
        return str(found[-1])


class Recording(Chat):
    """A chat model that keeps every prompt and answer on record, for :class:`RecordedAnswers` to give later."""

    def __init__(self, model: Chat, file: str | Path, dataset: str) -> None:
        self.model, self.file, self.dataset = model, file, dataset

    @property
    def source(self) -> str:
        """What the model is called."""
        return self.model.source

    def answer(self, messages: Messages) -> str:
        """The model's answer, after it was written to the record."""
        return record(self.model, messages, self.file, self.dataset)


def record(model: Chat, messages: Messages, file: str | Path, dataset: str) -> str:
    """Let ``model`` answer and add prompt and answer to the record in ``file``, which is made if it is not there.

    The file is replaced at once, so that it is never left half written. Raises :class:`InputError` if it holds
    something else than a record.
    """
    path = Path(file)
    records = read_record(path) if path.exists() else []
    entry = {
        "dataset": dataset,
        "purpose": purpose_of(messages),
        "messages": messages,
        "answer": model.answer(messages),
        "model": model.source,
        "date": datetime.date.today().isoformat(),
    }
    write_text(path, json.dumps([*records, entry], ensure_ascii=False, indent=1) + "\n")
    return str(entry["answer"])


def read_record(file: Path) -> list[dict[str, Any]]:
    """The records in ``file``. Raises :class:`InputError` if it cannot be read or is not a record."""
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise InputError(f"{file} does not exist: name a record of prompts and answers") from err
    except (OSError, ValueError, RecursionError) as err:
        raise InputError(f"{file} cannot be read as JSON ({' '.join(str(err).split())[:80]})") from err
    if not isinstance(records, list) or not all(map(_is_record, records)):
        wanted = ", ".join((*_TEXTS, "messages"))
        raise InputError(f"{file} is not a record: it must be a JSON list of objects with {wanted}")
    return records


def _is_record(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in _TEXTS)
        and isinstance(entry.get("messages"), list)
    )
