"""What the tests of imported and exported folders share."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers

from clearformer.api.run import Run, open_run
from clearformer.cli.main import main
from clearformer.config import Config
from clearformer.data.tokenizers import Tokenizer
from clearformer.engine import engine_of
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.session import load_model

TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40
SENTENCES = ["the quick dog", "the lazy fox sleeps", "dog, dog and dog"]
CONTEXT = 24
"""of the translators"""
EQUAL = 1e-5
"""of the spread of logits: float32's rounding, in sums of a few dozen numbers in another order"""
STD = 0.3
"""of the weights: with the usual 0.02 a tiny model adds next to nothing to its embeddings"""
MARIAN_SIZES = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": CONTEXT,
    "scale_embedding": True,
}  # fmt: skip
ENGINES = ("torch", "numpy", "c")
Edit = Callable[[Path], None]


def imported(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    code = main(["import", str(source), "--out", str(out)])
    assert code == 0, capsys.readouterr().err
    return open_run(out)


def run_of(folder: Path, config: Config, tokenizer: Tokenizer, kind: str, weights: Mapping[str, NDArray[Any]]) -> Run:
    """A run of ours with these weights, without its data."""
    folder.mkdir()
    tokenizer.save(folder / "tokenizer.json")
    data = {"name": config.dataset, "kind": kind, "sizes": {"train": 3}}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    save_checkpoint(folder / "checkpoints", Checkpoint(7, {"model": weights}), keep=1)
    return open_run(folder)


def edited_config(**changes: Any) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def edited_weights(change: Callable[[dict[str, NDArray[Any]]], None]) -> Edit:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def assert_refused(whole: Path, edit: Edit, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """The folder, once edited, is refused in one sentence, and nothing is written; returns the exit status."""
    shutil.copytree(whole, tmp_path / "theirs")
    edit(tmp_path / "theirs")
    status = main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "run")])
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1, message
    assert not (tmp_path / "run").exists()
    return status


def theirs_of(run: Run, source: Path) -> np.ndarray:
    """The number that each of our tokens has in the folder; -1 of those that it lacks."""
    alone = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    texts = [run.tokenizer.backend.id_to_token(index) or "" for index in range(run.config.model.vocab_size)]
    return np.array([-1 if (index := alone.token_to_id(text)) is None else index for text in texts])


def batch(vocab_size: int) -> tuple[np.ndarray, ...]:
    """Sources and targets, of our tokens that are no special ones, with padding."""
    rng = np.random.default_rng(1)
    source, target = rng.integers(4, vocab_size, (2, 9)), rng.integers(4, vocab_size, (2, 7))
    source_real, target_real = (np.arange(n) < np.array([[n], [n - 3]]) for n in (9, 7))
    return source, target, source_real, target_real


def their_logits(model: Any, source: Any, target: Any, source_real: Any, target_real: Any) -> np.ndarray:
    given = {"input_ids": source, "decoder_input_ids": target}
    masks = {"attention_mask": source_real.astype(int), "decoder_attention_mask": target_real.astype(int)}
    with torch.inference_mode():
        out = model(**{name: torch.from_numpy(value) for name, value in (given | masks).items()})
    return np.asarray(out.logits.numpy())


def assert_same_logits(run: Run, model: Any, numbers: np.ndarray, engine: Any = "torch") -> None:
    """`numbers`: theirs of each of our tokens, -1 where there is none."""
    source, target, *real = batch(np.flatnonzero(numbers >= 0)[-1] + 1)
    theirs = their_logits(model, numbers[source], numbers[target], *real)
    loaded = load_model(run, engine)[0]
    ours = engine_of(loaded).logits_of(loaded, (source, target, *real))
    there, spread = numbers >= 0, theirs.max() - theirs.min()
    assert np.abs(ours[:, :, there] - theirs[:, :, numbers[there]])[real[1]].max() < EQUAL * spread


def train_further(run: str, folder: Path) -> list[float]:
    """The losses of an imported translator that is trained on pairs."""
    pairs = "".join(f"{source}\t{target}\n" for source in SENTENCES for target in SENTENCES) * 2
    (folder / "pairs.tsv").write_text(pairs, encoding="utf-8")
    further = ["--data", str(folder / "pairs.tsv"), "--start-from", run, "--out", str(folder / "further")]
    settings = ["--train.steps=10", "--train.device=cpu", "--train.batch-tokens=192", "--train.schedule.peak=0.01"]
    assert main(["train", str(Path(run) / "config.json"), *further, *settings]) == 0
    lines = (folder / "further" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def unigrams(*first: str) -> tokenizers.Tokenizer:
    """A translator's tokenizer, whose vocabulary begins with these special tokens; <pad> is last if it is not here."""
    pieces = [*sorted({f"▁{word}" for word in TEXT.split()}), *sorted({*TEXT.replace(" ", "▁")})]
    scores = dict.fromkeys(first, 0.0) | {
        piece: -1.0 / len(piece) - number / 100 for number, piece in enumerate(pieces)
    }
    backend = tokenizers.Tokenizer(models.Unigram(list(scores.items()), unk_id=first.index("<unk>")))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens([*dict.fromkeys((*first, "<pad>"))])
    return backend


def random_marian(seed: int = 3, **settings: Any) -> Any:
    """A translator of transformers' with random weights."""
    torch.manual_seed(seed)
    model = transformers.MarianMTModel(transformers.MarianConfig(**settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.copy_(torch.randn_like(parameter) * STD + (1.0 if "norm.weight" in name else 0.0))
        last = model.model.decoder.layers[-1].final_layer_norm
        last.weight.neg_()  # or each token would be followed by itself, as the output is the embedding
        last.bias.zero_()
    return model


def save_translator(model: Any, backend: tokenizers.Tokenizer, folder: Path) -> None:
    model.save_pretrained(folder)
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)


def with_tensor(name: str, value: Callable[[dict[str, NDArray[Any]]], NDArray[Any]]) -> Edit:
    return edited_weights(lambda tensors: tensors.update({name: value(tensors).astype(np.float32)}))


def assert_not_exported(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run in `folder` is refused in these words, and nothing is written."""
    assert main(["export", str(folder / "run"), str(folder / "hf"), "--to", "hf"]) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "hf").exists()


def assert_same_translations(run: Run, model: Any, never: list[int], folder: Path) -> None:
    """Greedy ones, of their model in `folder` / "theirs", of the run, and of what the run is exported to.

    `never`: their tokens that ours does not write.
    """
    backend = tokenizers.Tokenizer.from_file(str(folder / "theirs" / "tokenizer.json"))
    assert main(["export", str(folder / "run"), str(folder / "back"), "--to", "hf"]) == 0
    back = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / "back").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "back")
    assert tokenizer.mask_token is None
    ours = run.translate(SENTENCES, beam=1)
    assert len(set(ours)) > 1
    for text, found in zip(SENTENCES, ours, strict=True):
        ids = torch.tensor([[*backend.encode(text, add_special_tokens=False).ids, model.config.eos_token_id]])
        written = model.generate(ids, do_sample=False, num_beams=1, max_new_tokens=CONTEXT, suppress_tokens=never)[0]
        assert backend.decode(written.tolist()[1:]) == found
        again = back.generate(**tokenizer(text, return_tensors="pt", return_token_type_ids=False), num_beams=1)[0]
        assert tokenizer.decode(again, skip_special_tokens=True) == found
