"""A run is a folder that says everything about itself.

    config.json  tokenizer.json  data.json  metrics.jsonl  checkpoints/step-000500/  report.html

`data.json` holds the SHA-256 of the corpus, so that a run is never resumed or measured on other data unawares.
`config.json` is written last, at once: a folder without it never began.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from clearformer.config import Config
from clearformer.data.batches import Batches, PairBuckets, TextWindows, TokenPair
from clearformer.data.corpora import Pair, PairCorpus, Split, TextCorpus, fingerprint
from clearformer.data.downloads import Progress
from clearformer.data.load import load_corpus
from clearformer.data.tokenizers import UNK, Tokenizer, train_tokenizer
from clearformer.errors import ConfigError, DataError, RunError

Notify = Callable[[str], None]
KINDS = {"transformer": "pairs", "gpt": "text"}
"""what each family learns from"""


@dataclass(frozen=True)
class Run:
    """One run, opened. The corpus is read when it is first asked for."""

    folder: Path
    config: Config
    tokenizer: Tokenizer
    notify: Notify

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @cached_property
    def corpus(self) -> TextCorpus | PairCorpus:
        """The data the run was made with. Raises RunError if it has changed since."""
        corpus = load_corpus(self.config.dataset, self.config.data)
        try:
            expected = json.loads((self.folder / "data.json").read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"the data's SHA-256 was expected in {self.folder / 'data.json'}, but: {error}; train anew"
            ) from error
        if fingerprint(corpus) != expected:
            raise RunError(
                f"the data that {self.folder} was made with (SHA-256 {expected[:12]}…) was expected, but "
                f"{' '.join(self.config.data) or self.config.dataset} now holds something else; "
                "put the old data back or train anew"
            )
        return corpus

    def batches(self, split: Split) -> Batches:
        """A split as tokens. Raises DataError if the corpus has no such split, or it is too short for the model."""
        examples = getattr(self.corpus, split)
        if not examples:
            raise DataError(f"{self.corpus.name} has no {split} split; evaluate with --split validation")
        seed, batch_tokens, context = self.config.train.seed, self.config.train.batch_tokens, self.config.model.context
        if isinstance(examples, str):
            tokens = np.array(self.tokenizer.encode_lines(examples))
            self._announce_unknown(split, int((tokens == UNK).sum()), len(tokens))
            return TextWindows(tokens, context, batch_tokens, seed)
        pairs = [tokens for _, tokens in self.pairs(split)]
        flat = [index for pair in pairs for ids in pair for index in ids]
        self._announce_unknown(split, flat.count(UNK), len(flat))
        if left_out := len(examples) - len(pairs):
            self.notify(f"{left_out:,} of {len(examples):,} {split} pairs are too long for the context: left out")
        if not pairs:
            raise DataError(f"pairs of fewer than {context} tokens were expected, the context; raise --model.context")
        return PairBuckets(pairs, batch_tokens, seed)

    def pairs(self, split: Split) -> list[tuple[Pair, TokenPair]]:
        """The pairs of a split that the model's context has room for, as text and as tokens."""
        examples: list[Pair] = getattr(self.corpus, split)
        sources = self.tokenizer.encode_many(source for source, _ in examples)
        targets = self.tokenizer.encode_many(target for _, target in examples)
        tokens = zip(sources, targets, strict=True)
        context = self.config.model.context  # begin and end need room too
        return [both for both in zip(examples, tokens, strict=True) if max(map(len, both[1])) < context]

    def _announce_unknown(self, split: Split, unknown: int, count: int) -> None:
        if unknown:
            self.notify(f"{unknown:,} of {count:,} tokens of the {split} split are not in the vocabulary: <unk>")


def create_run(folder: Path, config: Config, notify: Notify, progress: Progress | None = None) -> Run:
    """Read the data, train the tokenizer on the training split, and write the run's folder.

    Raises RunError if the folder holds anything but what an earlier `create_run` left unfinished.
    """
    ours = {"tokenizer.json", "data.json", "config.tmp"}
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - ours):
        begun = (folder / "config.json").exists()
        advice = (
            f"go on with: clearformer resume {folder}, or choose another --out" if begun else "choose another --out"
        )
        raise RunError(f"a new or empty folder was expected, but {folder} is in use; {advice}")
    corpus = load_corpus(config.dataset, config.data, progress)
    if corpus.kind != KINDS[config.model.kind]:
        raise ConfigError(
            f"a {config.model.kind} learns from {KINDS[config.model.kind]}, but {corpus.name} holds {corpus.kind}; "
            f"choose a recipe for {corpus.kind}"
        )
    texts = [corpus.train] if isinstance(corpus, TextCorpus) else [text for pair in corpus.train for text in pair]
    tokenizer = train_tokenizer(config.tokenizer, texts, config.model.vocab_size)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size),
        data=tuple(str(Path(path).resolve()) for path in config.data),
    )
    run, silent = Run(folder, config, tokenizer, notify), Run(folder, config, tokenizer, lambda _: None)
    for each in (run, silent):
        each.__dict__["corpus"] = corpus  # the property would read it again
    silent.batches("validation")  # what is too short for the model is told before anything is written
    sizes = {split: len(getattr(corpus, split)) for split in ("train", "validation", "test")}
    data = {"name": corpus.name, "kind": corpus.kind, "sha256": fingerprint(corpus), "sizes": sizes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder / "tokenizer.json")
        (folder / "data.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        (folder / "config.tmp").write_text(config.to_json(), encoding="utf-8")
        (folder / "config.tmp").replace(folder / "config.json")
    except OSError as error:
        raise RunError(
            f"{folder} must be a folder that can be written to, but: {error}; choose another --out"
        ) from error
    return run


def open_run(folder: Path, notify: Notify) -> Run:
    """Open a run that `create_run` made. Raises RunError if there is none."""
    if not (folder / "config.json").is_file():
        raise RunError(f"a run was expected in {folder}, but there is no config.json; make one with: clearformer train")
    config = Config.load(folder / "config.json")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    if tokenizer.vocab_size != config.model.vocab_size:
        raise RunError(
            f"a vocabulary of {config.model.vocab_size} was expected in {folder / 'tokenizer.json'}, "
            f"found {tokenizer.vocab_size}; put back the tokenizer that the run was made with"
        )
    return Run(folder, config, tokenizer, notify)
