"""Chat models: a tiny one by path, a server on this machine, a record; and asking twice."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fedlib.errors import InputError
from fedlib.prototypes.chat import Chat, ask
from fedlib.prototypes.local import ChatModel
from fedlib.prototypes.prompts import Messages, generation_messages
from fedlib.prototypes.recorded import RecordedAnswers, Recording, read_record, record
from fedlib.prototypes.server import MOST_BYTES, ChatServer

MESSAGES = generation_messages("The catalogue has 7 items.")
FIVE = ("Action", "Comedy", "Sci-fi", "Drama", "War")
GOOD = json.dumps(FIVE)


class Canned(Chat):
    """Answers from a list, and keeps what it was asked."""

    source = "canned"

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[Messages]()

    def answer(self, messages: Messages) -> str:
        self.asked.append(messages)
        return self.answers[len(self.asked) - 1]


def test_a_good_answer_is_asked_for_once() -> None:
    model = Canned(GOOD)
    assert ask(model, MESSAGES, (5, 15)) == (FIVE, "") and model.asked == [MESSAGES]


def test_a_bad_answer_is_followed_by_a_stricter_prompt_without_its_text() -> None:
    model = Canned("PWNED I cannot do that", GOOD)
    found, note = ask(model, MESSAGES, (5, 15))
    assert found == FIVE and "second" in note and len(model.asked) == 2
    assert model.asked[1] != MESSAGES and "PWNED" not in json.dumps(model.asked[1])


def test_after_two_bad_answers_the_previous_set_stays_and_without_one_it_ends() -> None:
    found, note = ask(Canned("no", '["one", "two"]'), MESSAGES, (5, 15), previous=FIVE)
    assert found == FIVE and "1 and 2 usable" in note and "previous set was kept" in note
    with pytest.raises(InputError, match="Two answers of canned"):
        ask(Canned("no", "no"), MESSAGES, (5, 15))


def test_an_item_name_makes_an_answer_fail() -> None:
    with pytest.raises(InputError, match="4 and 4 usable"):
        ask(Canned(GOOD, GOOD), MESSAGES, (5, 15), names=["WAR"])


def test_what_was_recorded_is_answered_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    recording = Recording(Canned(GOOD), file, "shop")
    assert recording.answer(MESSAGES) == GOOD
    other = generation_messages("The catalogue has 8 items.")
    record(Canned("B"), other, file, "shop")
    again = RecordedAnswers(file)
    assert (again.answer(MESSAGES), again.answer(other)) == (GOOD, "B")
    assert again.source.startswith("recorded: canned, 20") and recording.source == "canned"
    assert [entry["purpose"] for entry in read_record(file)] == ["generate", "generate"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_an_answer_that_is_added_later_leaves_the_source_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    for content in ("The catalogue has 7 items.", "The catalogue has 8 items."):
        record(Canned(GOOD), generation_messages(content), file, "shop")
    one, two = read_record(file)
    file.write_text(json.dumps([two | {"date": "2026-03-02"}, one | {"date": "2026-03-01"}]))
    assert RecordedAnswers(file).source == "recorded: canned, 2026-03-01"


def test_a_prompt_that_differs_in_one_letter_is_not_on_record(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    record(Canned(GOOD), MESSAGES, file, "shop")
    with pytest.raises(InputError, match=r"no answer to this generate prompt.*Recording"):
        RecordedAnswers(file).answer(generation_messages("The catalogue has 7 items"))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"model": "x"}]', "[" * 100_000, "\udcff"])
def test_a_file_that_is_no_record_is_refused_and_left_alone(content: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    for use in (lambda: RecordedAnswers(file).answer(MESSAGES), lambda: record(Canned(GOOD), MESSAGES, file, "shop")):
        with pytest.raises(InputError, match=r"mine\.json"):
            use()
    assert file.read_bytes() == content.encode("utf-8", "surrogateescape")


def test_the_record_of_the_package_can_be_read() -> None:
    assert RecordedAnswers().source.startswith("recorded: ")
    with pytest.raises(InputError, match="does not exist"):
        RecordedAnswers("/nowhere/at/all.json").answer(MESSAGES)


class _Handler(BaseHTTPRequestHandler):
    """Answers as its server's ``mode`` says, and keeps the last request."""

    server: Any

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.last = (self.path, dict(self.headers), json.loads(self.rfile.read(length)))
        mode = self.server.mode
        status = {"error": 500, "redirect": 302}.get(mode, 200)
        self.send_response(status)
        if mode == "redirect":
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        good = json.dumps({"choices": [{"message": {"content": GOOD}}]}).encode()
        pieces: Sequence[bytes] = {
            "good": [good],
            "error": [b'<script>"secret"</script>'],
            "broken": [good[:-4]],
            "other": [b'{"choices": []}'],
            "null": [b'{"choices": [{"message": {"content": null}}]}'],
            "huge": [b" " * (1 << 16)] * (2 * MOST_BYTES >> 16),
            "slow": [b" "] * 12,
            "silent": [],
        }.get(mode, [])
        try:
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if mode == "slow":
                    time.sleep(0.1)
            if mode == "silent":
                time.sleep(2)
        except OSError:
            pass  # the client has left

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.mode = "good"  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def chat(http: Any, **options: Any) -> ChatServer:
    return ChatServer(f"http://127.0.0.1:{http.server_address[1]}/v1/", "tiny", timeout=0.5, **options)


def test_a_server_is_asked_as_openai_does(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "s3cret\n")
    model = chat(server, key_from="A_KEY", max_new_tokens=9)
    assert model.answer(MESSAGES) == GOOD and model.source == "tiny at 127.0.0.1"
    path, headers, body = server.last
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer s3cret"
    assert body == {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 9, "stream": False}
    chat(server).answer(MESSAGES)
    assert "Authorization" not in server.last[1]


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("error", "status 500: 'script secret /script'"),
        ("redirect", "status 302"),
        ("broken", "no chat completion"),
        ("other", "no chat completion"),
        ("null", "without a text"),
        ("huge", "more than 262,144 bytes"),
        ("slow", "more than 0.5 seconds"),
        ("silent", "no chat completion|could not be asked"),
    ],
)
def test_a_server_that_fails_is_one_sentence(mode: str, sentence: str, server: Any) -> None:
    server.mode = mode
    began = time.perf_counter()
    with pytest.raises(InputError, match=sentence):
        ChatServer(chat(server).url, "tiny", timeout=30 if mode == "huge" else 0.5).answer(MESSAGES)
    if mode == "slow":
        assert time.perf_counter() - began < 1.1  # what the server sends drop by drop takes longer


def test_no_server_no_key_no_address(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:9", "ftp://host", "nonsense", ""):
        with pytest.raises(InputError, match="could not be asked"):
            ChatServer(url, "tiny", timeout=1).answer(MESSAGES)
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(InputError, match="A_KEY is to hold the key"):
        chat(server, key_from="A_KEY").answer(MESSAGES)
    monkeypatch.setenv("A_KEY", "s3\ncret")
    with pytest.raises(InputError, match="could not be asked") as refused:
        chat(server, key_from="A_KEY").answer(MESSAGES)
    assert "s3" not in str(refused.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 in a folder, with Qwen's own tokenizer pipeline and defaults that sample."""
    from fedlib.items.texts.shim import ensure_torchvision

    ensure_torchvision()
    pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    from transformers.models.qwen2 import Qwen2Tokenizer

    own = Qwen2Tokenizer()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = own.backend_tokenizer.normalizer
    tokenizer.pre_tokenizer = own.backend_tokenizer.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=marks, show_progress=False)
    tokenizer.train_from_iterator([message["content"] for message in MESSAGES], trainer)
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=marks[2], pad_token=marks[0], chat_template=template
    )
    config = Qwen2Config(
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.pad_token_id,
        max_position_embeddings=4096,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config)
    sampling: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}
    model.generation_config.update(**sampling, repetition_penalty=1.1)
    folder = tmp_path_factory.mktemp("tiny-qwen2")
    wrapped.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def greedy(folder: Path, messages: Messages, steps: int) -> str:
    """The same by hand: the token with the largest logit, again and again."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages) + "<|im_start|>assistant\n"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    prompt = ids.shape[1]
    for _ in range(steps):
        with torch.no_grad():
            best = model(ids).logits[0, -1].argmax()
        if best == tokenizer.eos_token_id:
            break
        ids = torch.cat([ids, best.view(1, 1)], dim=1)
    return str(tokenizer.decode(ids[0, prompt:], skip_special_tokens=True))


def test_a_tiny_model_answers_greedily_with_its_new_tokens(tiny: Path, cache: Path) -> None:
    model = ChatModel(tiny, max_new_tokens=12, device="cpu")
    assert model.answer(MESSAGES) == greedy(tiny, MESSAGES, 12) != ""
    assert model.source == tiny.name


def test_an_answer_is_computed_once_for_each_question_and_way_of_decoding(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def generate(self: ChatModel, messages: Messages, device: Any) -> str:
        asked.append((self.max_new_tokens, messages[-1]["content"]))
        return f"Ä answer {len(asked)}" if len(asked) < 4 else ""

    monkeypatch.setattr(ChatModel, "_generate", generate)
    other = generation_messages("Others")
    first = ChatModel(tiny, device="cpu")
    assert [first.answer(MESSAGES), first.answer(other), first.answer(MESSAGES)] == [
        "Ä answer 1",
        "Ä answer 2",
        "Ä answer 1",
    ]
    assert ChatModel(tiny, device="cpu").answer(other) == "Ä answer 2"
    assert ChatModel(tiny, max_new_tokens=9, device="cpu").answer(MESSAGES) == "Ä answer 3"
    (tiny / "note.txt").write_text("another revision")
    assert ChatModel(tiny, device="cpu").answer(MESSAGES) == "" and len(asked) == 4
    (tiny / "note.txt").unlink()


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    with pytest.raises(InputError, match="could not be read"):
        ChatModel(tmp_path, device="cpu").answer(MESSAGES)


def test_without_the_extra_the_sentence_names_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"fedlib\[text\]"):
        ChatModel(tmp_path, device="cpu").answer(MESSAGES)


def test_a_model_without_a_chat_template_is_refused(tiny: Path, cache: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "base"
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template"):
        ChatModel(folder, device="cpu").answer(MESSAGES)
