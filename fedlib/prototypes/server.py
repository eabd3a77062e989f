"""A language model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, or a company's."""

from __future__ import annotations

import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

import requests

from fedlib.errors import InputError
from fedlib.prototypes.chat import Chat
from fedlib.prototypes.prompts import Messages
from fedlib.prototypes.summary import plain

MOST_BYTES = 1 << 18  # of a response


class ChatServer(Chat):
    """The model called ``model`` at ``url``, such as ``http://localhost:8000/v1``; temperature 0.

    What is sent to the server is the prompt: categories and counts, and no interaction. ``key_from`` is the name of the
    environment variable that holds the key, for a server that wants one. An answer has ``timeout`` seconds and 256 KiB.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_from: str | None = None,
        max_new_tokens: int = 256,
        timeout: float = 120.0,
    ) -> None:
        self.url, self.model, self.key_from = url, model, key_from
        self.max_new_tokens, self.timeout = max_new_tokens, timeout

    @property
    def source(self) -> str:
        """The model and the server's name, without what else a URL may hold."""
        return f"{self.model} at {urlsplit(self.url).hostname}"

    def answer(self, messages: Messages) -> str:
        """The model's answer. Raises :class:`InputError` if the server cannot be reached or says something else."""
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
            "stream": False,
        }
        content = self._post(body)
        try:
            answer = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as err:
            raise InputError(f"{self._name()} sent no chat completion, but {_shown(content)}") from err
        if not isinstance(answer, str):
            raise InputError(f"{self._name()} sent a chat completion without a text: {_shown(content)}")
        return answer

    def _post(self, body: dict[str, Any]) -> bytes:
        address = f"{self.url.rstrip('/')}/chat/completions"
        until = time.monotonic() + self.timeout
        try:
            # A redirect could carry the key elsewhere.
            with requests.post(
                address, json=body, headers=self._key(), timeout=self.timeout, stream=True, allow_redirects=False
            ) as response:
                content = self._read(response, until)
        except requests.RequestException as err:
            # Its message is not shown: it may repeat the key.
            raise InputError(
                f"{self._name()} could not be asked ({type(err).__name__}): check its address and that it runs"
            ) from None
        if response.status_code != 200:
            raise InputError(f"{self._name()} answered with status {response.status_code}: {_shown(content)}")
        return content

    def _read(self, response: requests.Response, until: float) -> bytes:
        content = bytearray()
        for byte in response.iter_content(1):  # more at once would wait for a server that sends them drop by drop
            content += byte
            if len(content) > MOST_BYTES:
                raise InputError(f"{self._name()} sent more than {MOST_BYTES:,} bytes, the most that is read")
            if time.monotonic() > until:
                raise InputError(f"{self._name()} took more than {self.timeout:g} seconds to answer")
        return bytes(content)

    def _key(self) -> dict[str, str]:
        if self.key_from is None:
            return {}
        key = os.environ.get(self.key_from, "").strip()
        if not key:
            raise InputError(f"The environment variable {self.key_from} is to hold the key of {self._name()}: set it")
        return {"Authorization": f"Bearer {key}"}

    def _name(self) -> str:
        return f"The server {urlsplit(self.url).hostname or plain(self.url)[:80]}"


def _shown(content: bytes) -> str:
    return repr(plain(content[:400].decode("utf-8", "replace"))[:80])
