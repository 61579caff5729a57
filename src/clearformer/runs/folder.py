"""A run is a self-contained folder.

    config.json  tokenizer.json  data.json  metrics.jsonl  checkpoints/step-000500/  milestones/  best/  report.html
    samples.jsonl  start/  tokens/

`data.json` holds the SHA-256 of the corpus, so that a run is never resumed or evaluated on other data by mistake.
`best` holds the weights with the lowest validation loss of a run with `patience`.
`start` holds the initial weights of a run with `start_from`, which does not need that run again.
`tokens` holds the tokens of a large text, whose files are not read again.
`config.json` is written last, atomically: a folder without it is incomplete.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from clearformer.config import IMPORTED, BERTConfig, ClassifierConfig, Config
from clearformer.data.batches import Batches, TokenPair
from clearformer.data.corpora import (
    Corpus,
    EquationCorpus,
    LabelledCorpus,
    LargeCorpus,
    Pair,
    PairCorpus,
    Split,
    TextCorpus,
    fingerprint,
)
from clearformer.data.downloads import Progress
from clearformer.data.imported import NAMES_FILE
from clearformer.data.large import survey
from clearformer.data.load import Kind, load_corpus
from clearformer.data.modular import equations, number_tokenizer
from clearformer.data.sides import SPM_FILES, TARGET_FILE, load_any
from clearformer.data.text_files import TextFiles, expand
from clearformer.data.tokenizers import Tokenizer, train_tokenizer
from clearformer.errors import ConfigError, RunError, shortened
from clearformer.runs.checkpoint import CheckpointName, save_checkpoint
from clearformer.runs.memory_limit import require_memory
from clearformer.runs.splits import Notify, fitting_pairs, make_batches, report_unknown, require_split, windows
from clearformer.runs.start import initial_checkpoint
from clearformer.runs.tokens import Tokens, open_tokens

CORPUS_KINDS: dict[str, Kind] = {"transformer": "pairs", "gpt": "text", "bert": "text", "classifier": "labels"}
"""the kind of corpus each family is trained on"""


@dataclass(frozen=True)
class RunFolder:
    """An opened run. The corpus is loaded on first access."""

    folder: Path
    config: Config
    tokenizer: Tokenizer
    notify: Notify
    checkpoint: CheckpointName = "last"
    """which weights are the trained model's"""
    _batches: dict[Split, Batches] = field(default_factory=dict, init=False, repr=False, compare=False)
    _tokens: dict[Split, Tokens] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.folder / "samples.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def milestones(self) -> Path:
        """The folder of the weights that are kept for good, on a logarithmic scale of steps."""
        return self.folder / "milestones"

    @property
    def best(self) -> Path:
        """The folder of the checkpoint with the weights of the lowest validation loss, if `patience` keeps them."""
        return self.folder / "best"

    @property
    def trained(self) -> Path:
        """The folder of the checkpoints that the trained model is made of."""
        return self.best if self.checkpoint == "best" else self.checkpoints

    @property
    def start(self) -> Path:
        """The folder of the checkpoint with the initial weights of a run with `start_from`."""
        return self.folder / "start"

    @cached_property
    def corpus(self) -> Corpus:
        """The data the run was created with. Raises RunError if it has changed since, or if the run was imported."""
        if self.config.dataset == IMPORTED and not self.config.data:
            self._refuse_imported("data was", "none")
        expected = self.data_hash
        if self._data_field("streamed", "whether the text is large", lambda value: value in (None, True)):
            return self._large_corpus()
        corpus = _read_corpus(self.config, whole=True)
        assert not isinstance(corpus, LargeCorpus)
        if fingerprint(corpus) != expected:
            self._refuse_other_data()
        return corpus

    @property
    def data_hash(self) -> str:
        """The SHA-256 of the data the run was created with, from `data.json`. Raises RunError if it is missing."""
        return str(self._data_field("sha256", "the data's SHA-256", lambda value: isinstance(value, str)))

    def require_head(self) -> None:
        """Raise RunError if the run was imported without a head that names tokens."""
        if self._data_field("headless", "whether the model has a head", lambda value: value in (None, True)):
            self._refuse_imported("a head that names hidden tokens was", "none that is trained")

    def _refuse_imported(self, expected: str, found: str) -> NoReturn:
        raise RunError(
            f"{expected} expected, but {self.folder} was imported, and has {found}; train it further with: "
            f"clearformer train {self.folder / 'config.json'} --data FILE --start-from {self.folder}"
        )

    def _refuse_other_data(self) -> NoReturn:
        raise RunError(
            f"the data that {self.folder} was created with (SHA-256 {self.data_hash[:12]}…) was expected, but "
            f"{' '.join(self.config.data) or self.config.dataset} now holds other data; "
            "put the old data back or train anew"
        )

    def _large_corpus(self) -> LargeCorpus:
        """The corpus as `data.json` describes it: the files are read only if there are no tokens of them."""
        sizes = self._data_field("sizes", "the sizes of the splits", lambda value: isinstance(value, dict))
        train, validation = (int(sizes.get(split, 0)) for split in ("train", "validation"))
        files = TextFiles(tuple(map(Path, self.config.data)), self.config.data_column)
        return LargeCorpus(files.name, files, range(train), range(train, train + validation))

    def tokens(self, progress: Progress | None = None) -> dict[Split, Tokens]:
        """The tokens of a large text, mapped from the folder `tokens`; encoded first where they are not there."""
        assert isinstance(self.corpus, LargeCorpus)
        if not self._tokens:
            arguments = self.corpus, self.tokenizer, self.data_hash, self._refuse_other_data
            self._tokens.update(open_tokens(self.folder / "tokens", *arguments, progress or (lambda *_: None)))
        return self._tokens

    @cached_property
    def classes(self) -> list[str]:
        """A classifier's class names by index, from `data.json`. Raises RunError if they do not match the model."""
        assert isinstance(self.config.model, ClassifierConfig)
        count = self.config.model.num_classes
        is_valid = lambda value: isinstance(value, list) and len(value) == count and all(map(_is_name, value))  # noqa: E731
        return list(self._data_field("classes", f"a list of {count} class names", is_valid))

    def batches(self, split: Split) -> Batches:
        """A split as tokens. Raises DataError if the corpus has no such split, or it is too short for the model.

        Batches are cached, so that `notify` is called only once for them.
        """
        if split not in self._batches:
            if isinstance(self.corpus, LargeCorpus):
                require_split(self.corpus, split)
                found = self.tokens()[split]
                report_unknown(found.unknown, len(found.ids), split, self.notify)
                self._batches[split] = windows(self.config, self.tokenizer, found.ids)
            else:
                self._batches[split] = make_batches(self.config, self.tokenizer, self.corpus, split, self.notify)
        return self._batches[split]

    def pairs(self, split: Split) -> list[tuple[Pair, TokenPair]]:
        """The pairs of a split that fit into the model's context, as text and as tokens."""
        return fitting_pairs(self.config, self.tokenizer, getattr(self.corpus, split))

    def _data_field(self, key: str, description: str, is_valid: Callable[[Any], bool]) -> Any:
        """The value of `key` in data.json. Raises RunError if it is missing or not valid."""
        path = self.folder / "data.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{description} was expected in {path}, but: {error}; train anew") from error
        found = content.get(key) if isinstance(content, dict) else content
        if not is_valid(found):
            raise RunError(f"{description} was expected in {path}, but: {key!r} is {shortened(found)}; train anew")
        return found


def _is_name(value: Any) -> bool:
    """Whether `value` is encodable text: JSON may contain unpaired surrogates."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def create_folder(folder: Path, config: Config, notify: Notify, progress: Progress | None = None) -> RunFolder:
    """Read the data, train the tokenizer on the training split, and write the run's folder.

    With `start_from`, the tokenizer and the initial weights are copied from that run.
    Raises RunError if the folder holds anything but the leftovers of an interrupted `create_folder`, ConfigError if the
    data or the earlier run does not suit the model.
    """
    leftovers = {"tokenizer.json", NAMES_FILE, TARGET_FILE, *SPM_FILES, "data.json", "config.tmp", "start", "tokens"}
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - leftovers):
        is_run = (folder / "config.json").exists()
        advice = (
            f"continue with: clearformer resume {folder}, or choose another --out" if is_run else "choose another --out"
        )
        raise RunError(f"a new or empty folder was expected, but {folder} is in use; {advice}")
    config = dataclasses.replace(config, data=expand(config.data))
    corpus = _read_corpus(config, progress)
    if config.modular is None and corpus.kind != CORPUS_KINDS[config.model.kind]:
        raise ConfigError(
            f"a {config.model.kind} learns from {CORPUS_KINDS[config.model.kind]}, but {corpus.name} holds "
            f"{corpus.kind}; choose a recipe for {corpus.kind}"
        )
    if config.tokenizer == IMPORTED and not config.start_from:
        raise ConfigError(
            "a run to start from was expected, as the tokenizer is an imported one; add --start-from RUN", "tokenizer"
        )
    earlier = open_folder(Path(config.start_from).resolve(), notify) if config.start_from else None
    if earlier and earlier.tokenizer.imported and isinstance(config.model, ClassifierConfig):
        raise ConfigError(
            f"a run that clearformer trained was expected for a classifier to start from, but {earlier.folder} was "
            "imported; train one with: clearformer train bert",
            "start_from",
        )
    sha256, texts = _survey(config, corpus, folder, notify, progress)
    tokenizer = earlier.tokenizer if earlier else _train_tokenizer(config, texts)
    config = _completed(config, tokenizer, corpus, earlier)
    require_memory(config)
    run, muted = RunFolder(folder, config, tokenizer, notify), RunFolder(folder, config, tokenizer, lambda _: None)
    for each in (run, muted):
        each.__dict__["corpus"] = corpus  # the property would read it again
    if not isinstance(corpus, LargeCorpus):
        muted.batches("validation")  # raises for data that is too short, before anything is written
    start = initial_checkpoint(config, earlier.config, earlier.folder, notify) if earlier else None
    sizes = {split: len(getattr(corpus, split)) for split in ("train", "validation", "test")}
    data: dict[str, Any] = {"name": corpus.name, "kind": corpus.kind, "sha256": sha256, "sizes": sizes}
    if isinstance(corpus, LargeCorpus):
        data["streamed"] = True
    if isinstance(corpus, LabelledCorpus):
        data["classes"] = corpus.classes
    if isinstance(corpus, TextCorpus | LabelledCorpus) and corpus.note:
        notify(corpus.note)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if run.start.exists():
            shutil.rmtree(run.start)
        tokenizer.save(folder / "tokenizer.json")
        (folder / "data.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        if start is not None:
            save_checkpoint(run.start, start, keep=1)
        if isinstance(corpus, LargeCorpus):
            run.tokens(progress)
            muted._tokens.update(run.tokens())
            muted.batches("validation")
        (folder / "config.tmp").write_text(config.to_json(), encoding="utf-8")
        (folder / "config.tmp").replace(folder / "config.json")
    except OSError as error:
        raise RunError(
            f"{folder} must be a folder that can be written to, but: {error}; choose another --out"
        ) from error
    return run


def _read_corpus(config: Config, progress: Progress | None = None, whole: bool = False) -> Corpus:
    if config.modular is not None:
        return equations(config.modular, config.train.seed)
    kind = CORPUS_KINDS[config.model.kind]
    corpus = load_corpus(config.dataset, config.data, progress, kind, config.data_column, whole)
    return corpus.reversed() if config.reverse_pairs and isinstance(corpus, PairCorpus) else corpus


def _survey(
    config: Config, corpus: Corpus, folder: Path, notify: Notify, progress: Progress | None
) -> tuple[str, list[str]]:
    """The fingerprint of the corpus, and what its tokenizer is trained on: the training split, or a sample of it."""
    if isinstance(corpus, LargeCorpus):
        sha256, sample = survey(corpus, progress=progress)
        count, size = len(corpus.train), sum(map(len, sample))
        trained = "" if config.start_from else f"the tokenizer is trained on {size:,} of {count:,} characters, and "
        notify(f"{corpus.name} is large: {trained}its tokens are kept in {folder / 'tokens'}")
        return sha256, sample
    sha256 = fingerprint(corpus)
    if isinstance(corpus, TextCorpus):
        return sha256, [corpus.train]
    if isinstance(corpus, EquationCorpus):
        return sha256, []
    examples: Iterable[Iterable[str]]
    examples = corpus.train if isinstance(corpus, PairCorpus) else (texts for texts, _ in corpus.train)
    return sha256, [text for example in examples for text in example]


def _train_tokenizer(config: Config, texts: list[str]) -> Tokenizer:
    if config.modular is not None:
        return number_tokenizer(config.modular.modulus)
    assert config.tokenizer != "number"
    assert config.tokenizer != "imported"
    return train_tokenizer(config.tokenizer, texts, config.model.vocab_size, mask=isinstance(config.model, BERTConfig))


def _completed(config: Config, tokenizer: Tokenizer, corpus: Corpus, earlier: RunFolder | None) -> Config:
    """The configuration with vocabulary size and number of classes from the data, and with absolute paths."""
    model = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
    if isinstance(model, ClassifierConfig) and isinstance(corpus, LabelledCorpus):
        model = dataclasses.replace(model, num_classes=len(corpus.classes))
    return dataclasses.replace(
        config,
        model=model,
        tokenizer=earlier.config.tokenizer if earlier else config.tokenizer,
        data=tuple(str(Path(path).resolve()) for path in config.data),
        start_from=str(earlier.folder) if earlier else "",
    )


def is_made_of(completed: Config, config: Config) -> bool:
    """Whether `create_folder` may have made one configuration, that of a run, of the other."""
    model: Any = completed.model
    filled = {name: getattr(model, name) for name in ("vocab_size", "num_classes") if hasattr(config.model, name)}
    earlier = str(Path(config.start_from).resolve()) if config.start_from else ""
    return type(model) is type(config.model) and completed == dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **filled),
        tokenizer=completed.tokenizer if earlier else config.tokenizer,
        data=tuple(str(Path(path).resolve()) for path in expand(config.data)),
        start_from=earlier,
    )


def open_folder(folder: Path, notify: Notify, checkpoint: CheckpointName = "last") -> RunFolder:
    """Open an existing run, to use the model of that checkpoint.

    Raises RunError if there is none or its tokenizer does not match, ConfigError or DataError if a file is damaged.
    """
    if not (folder / "config.json").is_file():
        raise RunError(
            f"a run was expected in {folder}, but there is no config.json; create one with: clearformer train"
        )
    config = Config.load(folder / "config.json")
    tokenizer = load_any(folder / "tokenizer.json", config.model.vocab_size)
    if tokenizer.vocab_size != config.model.vocab_size:
        raise RunError(
            f"a vocabulary of {config.model.vocab_size} was expected in {folder / 'tokenizer.json'}, "
            f"found {tokenizer.vocab_size}; restore the tokenizer the run was created with"
        )
    return RunFolder(folder, config, tokenizer, notify, checkpoint)
