"""A name is asked of Hugging Face's hub: here of a server on this machine, which answers as the hub does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from clearformer.api.run import open_run

pytestmark = pytest.mark.slow

NAME, COMMIT = "someone/a-gpt2", "0123456789abcdef" * 2 + "01234567"
ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
WORDS = ("<|endoftext|>", "So", "it", "is", ".")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A GPT-2 as its author's folder, with weights in a pickle and a text beside it."""
    folder = tmp_path / "published"
    torch.manual_seed(0)
    settings = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=8, n_embd=8, n_layer=1, n_head=2, **ENDS)
    transformers.GPT2LMHeadModel(settings).save_pretrained(folder)
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=WORDS[0], bos_token=WORDS[0], eos_token=WORDS[0]
    ).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("A model.")
    return folder


def size_of(file: Path) -> dict[str, Any]:
    return {"size": file.stat().st_size, "oid": hashlib.sha1(file.read_bytes()).hexdigest()}


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the files that were asked for."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            name = path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
            if path.startswith(f"/api/models/{NAME}/tree/"):
                files = [{"type": "file", "path": each.name, **size_of(each)} for each in folder.iterdir()]
                self.send(json.dumps(files).encode(), body)
            elif path.startswith(f"/api/models/{NAME}"):
                self.send(json.dumps({"id": NAME, "sha": COMMIT}).encode(), body)
            elif name != path and (folder / name).is_file():
                asked.append(name)
                self.send((folder / name).read_bytes(), body)
            else:
                self.send(b"{}", body, 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})

        def send(self, content: bytes, body: bool, status: int = 200, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            digest = hashlib.sha256(content).hexdigest()
            headers = {"Content-Length": str(len(content)), "ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
            for key, value in (headers | (more or {})).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def import_from(address: str, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`clearformer import` in a process of its own, since the library reads its variables when it is loaded."""
    variables = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "clearformer", "import", name, "--out", str(folder / "run")]
    return subprocess.run(command, env=os.environ | variables, cwd=folder, capture_output=True, text=True)


def test_a_name_on_the_hub_becomes_a_run_and_pickles_are_not_downloaded(published: Path, tmp_path: Path):
    with hub(published) as (address, asked):
        answer = import_from(address, NAME, tmp_path)
    assert answer.returncode == 0, answer.stderr
    run = open_run(tmp_path / "run")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(published)
    tokens = run.tokenizer.encode("So it is .")
    assert tokens == [1, 2, 3, 4]
    with torch.no_grad():
        ours, expected = run.model(torch.tensor([tokens])), theirs(torch.tensor([tokens])).logits
    torch.testing.assert_close(ours, expected)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {*asked}
    assert not {"pytorch_model.bin", "README.md"} & {*asked}


def test_a_name_that_the_hub_does_not_have_is_refused_in_one_sentence(published: Path, tmp_path: Path):
    with hub(published) as (address, _):
        answer = import_from(address, "someone/else", tmp_path)
    assert answer.returncode == 2
    assert "a folder, or a model on huggingface.co, was expected" in answer.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()
