"""A run as an object, to use its model: text in and text out.

    run = clearformer.open_run("runs/dates")
    run.translate("March 3rd, 1999")                    # "1999-03-03"

Each family has its own method: `translate` (transformer), `generate` and `stream` (gpt), `fill` (bert), `classify`
(classifier). All but `stream` also take a list of texts, and then return a list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from clearformer.api.display import Display, say
from clearformer.config import EngineName
from clearformer.data.corpora import Split
from clearformer.data.labelled import num_truncated
from clearformer.data.tokenizers import SPECIAL, UNK
from clearformer.errors import ClearformerError, PromptError, RunError
from clearformer.generation.sampling import Sampling
from clearformer.models.initial import count_parameters
from clearformer.runs import metrics
from clearformer.runs.checkpoint import CheckpointName, newest_step
from clearformer.runs.folder import RunFolder, open_folder
from clearformer.runs.splits import Notify

if TYPE_CHECKING:
    from clearformer.api.trackers import TrackerName
    from clearformer.explorer.contents import Precision
    from clearformer.explorer.explore import Explorer
    from clearformer.generation.beam import Beam
    from clearformer.generation.classification import Classified
    from clearformer.generation.fill import Filled, Filler
    from clearformer.generation.speculative import Draft
    from clearformer.generation.translation import Translation
    from clearformer.inspection.attention import AttentionMap
    from clearformer.inspection.reading import Reading

USES = {
    "transformer": ("translates", "translate"),
    "gpt": ("writes text", "generate"),
    "bert": ("fills in hidden tokens", "fill"),
    "classifier": ("classifies texts", "classify"),
}
"""family -> what it does, and the name of its command and method"""


@dataclass(frozen=True, repr=False)
class Run(RunFolder):
    """An opened run: its folder and its model. Create one with `train` or `open_run`."""

    engine: EngineName | None = None
    """the engine to compute with; None: the one that trained the run"""

    @classmethod
    def from_folder(cls, folder: RunFolder, engine: EngineName | None = None) -> "Run":
        """Return a run that shares the folder's cached data, so that it is read, and notices are given, once."""
        run = cls(folder.folder, folder.config, folder.tokenizer, folder.notify, folder.checkpoint, engine=engine)
        run.__dict__.update(folder.__dict__)
        return run

    def __repr__(self) -> str:
        config, step = self.config, newest_step(self.checkpoints)
        family, size = config.model.kind, count_parameters(config.model)
        data = " and ".join(Path(path).name for path in config.data) or config.dataset
        try:
            losses = self._losses()
        except ClearformerError as error:
            losses = str(error)
        return (
            f"Run({str(self.folder)!r}): {family} of {size:,} parameters on {data}\n"
            f"  step {step or 0:,} of {config.train.steps:,}{losses}\n"
            f"  use: run.{USES[family][1]}(text), run.evaluate(), run.inspect(text), run.explore(), run.model, "
            "run.tokenizer"
        )

    def _losses(self) -> str:
        lines = metrics.read(self.metrics)
        measured = [line["validation_loss"] for line in lines if "validation_loss" in line]
        training = f", loss {lines[-1]['loss']:.3f}" if lines else ""
        return training + (f", on validation {measured[-1]:.3f} nats per token" if measured else "")

    @cached_property
    def _loaded(self) -> tuple[Any, int]:
        from clearformer.runs.session import load_model

        return load_model(self, self.engine)

    @property
    def model(self) -> Any:
        """The trained model in evaluation mode; with PyTorch, an `nn.Module`.

        Raises CheckpointError if there is no checkpoint.
        """
        return self._loaded[0]

    @property
    def step(self) -> int:
        """The number of updates the model was trained for."""
        return self._loaded[1]

    def unload_model(self) -> None:
        """Drop the loaded model, so that the next use loads the newest checkpoint."""
        for name in ("_loaded", "_filler"):
            self.__dict__.pop(name, None)

    def resume(self, *, log: "Sequence[TrackerName]" = ()) -> "Run":
        """Continue training exactly where it stopped, to the last step; write the report and return the run.

        `log` names "tensorboard" or "wandb" to log there too. Raises KeyboardInterrupt if interrupted, after saving the
        step just done.
        """
        from clearformer.api.training import train_and_report

        if train_and_report(lambda _: (self, log))[1]:
            raise KeyboardInterrupt
        return self

    def evaluate(
        self, split: Split | Literal["auto"] = "auto", *, beam: int = 1, length_penalty: float = 0.6
    ) -> dict[str, Any]:
        """Return the scores of the model on a split, and those of the untrained model under "untrained".

        "auto" is the test split, or validation if there is none. `loss` is in nats per predicted token. Translators
        also have `exact_match` (0 to 1) and `bleu` (0 to 100), by a beam of `beam` hypotheses; BERTs and classifiers
        `accuracy` (0 to 1), classifiers `macro_f1` and `confusion`. Raises DataError for a split that the data lacks.
        """
        from clearformer.evaluation.evaluate import evaluate
        from clearformer.generation.beam import Beam

        beam_settings = Beam(beam, length_penalty)
        default: Split = "test" if self.corpus.test else "validation"
        with Display("evaluating", 1) as display:
            return evaluate(
                self,
                default if split == "auto" else split,
                lambda what, done, count: display.show(done, what, count),
                beam_settings,
                self.engine,
            )

    @overload
    def translate(self, text: str, *, beam: int = 4, length_penalty: float = 0.6) -> str: ...
    @overload
    def translate(self, text: list[str], *, beam: int = 4, length_penalty: float = 0.6) -> list[str]: ...
    def translate(self, text: str | list[str], *, beam: int = 4, length_penalty: float = 0.6) -> str | list[str]:
        """Return the best translation found by beam search; `beam=1` is greedy.

        A larger `length_penalty` favours longer translations (Wu et al. 2016, arXiv:1609.08144). Raises PromptError
        for a text longer than the model's context, RunError if the run is not a translator.
        """
        from clearformer.generation.beam import Beam

        texts = _as_list(text)
        self._report_unknown(self._unknown(texts))
        found = [best[0].text for best in self.translations(texts, Beam(beam, length_penalty))]
        return found[0] if isinstance(text, str) else found

    def translations(self, texts: Sequence[str], beam: "Beam", *, cached: bool = True) -> "list[list[Translation]]":
        """Return the `beam.n_best` translations of each text, best first; an empty text stays empty."""
        from clearformer.generation.translation import Translation, n_best_texts

        self.require("transformer")
        nonempty = [text for text in texts if text.strip()]
        found = iter(n_best_texts(self.model, self.tokenizer, nonempty, beam, cached=cached))
        return [next(found) if text.strip() else [Translation("", 0.0, 0.0)] for text in texts]

    @overload
    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        draft: "Run | None" = None,
        draft_tokens: int = 4,
    ) -> str: ...
    @overload
    def generate(
        self,
        prompt: list[str],
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        draft: "Run | None" = None,
        draft_tokens: int = 4,
    ) -> list[str]: ...
    def generate(
        self,
        prompt: str | list[str],
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        draft: "Run | None" = None,
        draft_tokens: int = 4,
    ) -> str | list[str]:
        """Return the continuation of the prompt, without the prompt; the same seed gives the same text.

        `temperature` 0 is greedy; `top_k` (0: all) and `top_p` exclude unlikely tokens. When the context is full, the
        model continues from its later half. With `draft`, a smaller run with the same tokenizer proposes `draft_tokens`
        tokens at a time, which this run judges in one pass (Leviathan et al. 2022, arXiv:2211.17192): a greedy text is
        the same; a sampled one has the same distribution, but a seed gives another sample than without a draft.

        Raises PromptError for an empty prompt, a character that the vocabulary lacks, a setting out of range or an
        engine that cannot decode with a draft, RunError if a run is not a language model or the draft has another
        tokenizer.
        """
        sampling = Sampling(temperature, top_k, top_p, seed)
        drafting = None if draft is None else self.drafted_by(draft, draft_tokens)
        steps = self.continue_prompts(_as_list(prompt), max_new_tokens, sampling, draft=drafting)
        rows = zip(*steps, strict=True)
        texts = [self.tokenizer.decode(row) for row in rows]
        return texts[0] if isinstance(prompt, str) else texts

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        draft: "Run | None" = None,
        draft_tokens: int = 4,
    ) -> Iterator[str]:
        """Return an iterator over the text that `generate` would return, in pieces as they are generated."""
        from clearformer.generation.decoding import decode_stream

        sampling = Sampling(temperature, top_k, top_p, seed)
        drafting = None if draft is None else self.drafted_by(draft, draft_tokens)
        steps = self.continue_prompts([prompt], max_new_tokens, sampling, draft=drafting)
        return decode_stream(self.tokenizer, (tokens[0] for tokens in steps))

    def continue_prompts(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        sampling: Sampling,
        *,
        slide: bool = True,
        cached: bool = True,
        draft: "Draft | None" = None,
    ) -> Iterator[list[int]]:
        """Return an iterator over steps, each a list of one new token id per prompt.

        With `slide`, a full context continues from its later half; without, it raises PromptError. A run that learned
        equations writes one token, the answer. `draft` is made by `drafted_by`, and counts its tokens.
        """
        from clearformer.generation.decoding import generate

        if max_new_tokens < 1:
            raise PromptError(f"--max-new-tokens must be 1 or more, found {max_new_tokens}; raise it")
        self.require("gpt")
        if unknown := [piece for prompt in prompts for piece in self.tokenizer.unknown(prompt)]:
            raise PromptError(f"text in the run's vocabulary was expected, but it has no {unknown[0]!r}; leave it out")
        ids, context = [self.tokenizer.encode(prompt) for prompt in prompts], self.config.model.context
        if slide and (longer := sum(len(row) > context for row in ids)):
            self.notify(
                f"{longer:,} of {len(ids):,} prompts are too long for the context of {context} tokens: truncated to "
                "their last half of it"
            )
        count = 1 if self.config.modular else max_new_tokens
        never = self.tokenizer.never_written
        return generate(self.model, ids, count, sampling, slide=slide, cached=cached, draft=draft, suppressed=never)

    def drafted_by(self, run: "Run", tokens: int = 4) -> "Draft":
        """Return a draft for this run, by another one that proposes so many tokens at a time.

        Raises PromptError for fewer than one token, RunError if the other run does not write text or has another
        tokenizer.
        """
        from clearformer.generation.speculative import Draft

        run.require("gpt")
        if run.tokenizer.backend.to_str() != self.tokenizer.backend.to_str():
            raise RunError(
                f"a draft with the tokenizer of {self.folder}, of {self.tokenizer.vocab_size:,} tokens, was expected, "
                f"but {run.folder} has another, of {run.tokenizer.vocab_size:,}; train the draft on the same data with "
                "the same --tokenizer and --model.vocab-size"
            )
        return Draft(run.model, tokens)

    @overload
    def fill(self, text: str) -> str: ...
    @overload
    def fill(self, text: list[str]) -> list[str]: ...
    def fill(self, text: str | list[str]) -> str | list[str]:
        """Return the text with the likeliest token at each <mask>, each predicted independently.

        Raises PromptError for a text without <mask> or longer than the model's context, RunError if the run is not a
        BERT.
        """
        texts = _as_list(text)
        found = self.fillings(texts)
        self._report_unknown(sum(filled.unknown for filled in found))
        return found[0].text if isinstance(text, str) else [filled.text for filled in found]

    def fillings(self, texts: Sequence[str], top: int = 1) -> "list[Filled]":
        """Return each filled text, with the `top` likeliest tokens of each <mask> and their probabilities."""
        self.require("bert")
        self.require_head()
        return self._filler(texts, top)

    @cached_property
    def _filler(self) -> "Filler":
        from clearformer.generation.fill import Filler

        return Filler(self.model, self.tokenizer)

    @overload
    def classify(self, text: str) -> str: ...
    @overload
    def classify(self, text: list[str]) -> list[str]: ...
    def classify(self, text: str | list[str]) -> str | list[str]:
        """Return the likeliest class. A tab in a text separates texts that are read together.

        Texts longer than the context are truncated and reported to `notify`. Raises RunError if the run is not a
        classifier.
        """
        texts = _as_list(text)
        self._report_unknown(self._unknown(texts))
        found = self.classifications(texts)
        if found.truncated:
            self.notify(f"{found.truncated:,} of {len(texts):,} texts are too long for the context: truncated")
        labels = [self.classes[index] for index in found.probabilities.argmax(-1)]
        return labels[0] if isinstance(text, str) else labels

    def classifications(self, texts: Sequence[str]) -> "Classified":
        """Return the class probabilities of each text, [N, C], in the order of `classes`."""
        from clearformer.generation.classification import classify

        self.require("classifier")
        return classify(self.model, self.tokenizer, [text.split("\t") for text in texts])

    def explore(
        self, out: str | Path | None = None, *, checkpoints: int = 0, precision: "Precision" = "single"
    ) -> "Explorer":
        """Write a page in which a browser runs the model, by default explore.html in the run's folder.

        Notebooks show it. `checkpoints` is how many stages of training it holds, from untrained to trained; of a run
        with `modular`, 0 stands for 12 in half precision. `precision` "half" halves its size. Raises CheckpointError if
        there is no checkpoint.
        """
        from clearformer.explorer.explore import explore

        path = self.folder / "explore.html" if out is None else Path(out)
        return explore([self], path, checkpoints=checkpoints, precision=precision, notify=self.notify)

    def inspect(self, text: str, target: str | None = None) -> "Reading":
        """Return the text as the model reads it: its inputs and tokens, and what they do inside.

        A translator also reads `target`, by default its own translation. `.attention()`, `.heads()`, `.lens()`,
        `.contributions()`, `.attribution()` and `.scores()` show themselves in notebooks; `.inputs` are for `record`,
        `ablate` and `patch`. The model is PyTorch's: `run.inspect(text).model`. Raises PromptError for a text longer
        than the context.
        """
        from clearformer.inspection.reading import read
        from clearformer.runs.session import load_model

        kind = self.config.model.kind
        translated = kind == "transformer" and target is None
        target = self.translate(text) if translated else target or ""
        model = self.model if self._uses_torch else load_model(self, "torch")[0]
        classes = self.classes if kind == "classifier" else ()
        reading = read(model, self.tokenizer, text, target, classes)
        if not translated:  # else `translate` has said so
            self._report_unknown(sum(tokens.count(SPECIAL[UNK]) for tokens in reading.texts))
        if kind == "classifier" and num_truncated(
            list(self.tokenizer.encode_batch(text.split("\t"))), self.config.model.context
        ):
            self.notify(f"the text is too long for the context of {self.config.model.context} tokens: truncated")
        return reading

    def attention(
        self, text: str, target: str | None = None, *, layer: int = -1, head: int | None = None
    ) -> "AttentionMap":
        """Return the attention weights as a picture: notebooks show it, and `.save("x.svg")` writes it.

        For a translator, cross-attention from `target` (by default the model's translation) to the text; otherwise
        self-attention. `layer` counts from 0, or from the end if negative; `head` None is the mean over heads. Raises
        PromptError for a text longer than the context, InspectionError for a layer or head that does not exist.
        """
        return self.inspect(text, target).attention(layer, head)

    @property
    def _uses_torch(self) -> bool:
        return (self.engine or self.config.engine) == "torch"

    def require(self, kind: str) -> None:
        """Raise RunError, suggesting the command for this run, unless it is of the family `kind`."""
        does, use = USES[self.config.model.kind]
        if self.config.model.kind != kind:
            raise RunError(
                f"a run that {USES[kind][0]} was expected, but {self.folder} {does}; use: clearformer {use} "
                f"{self.folder}, or run.{use} in Python"
            )

    def _unknown(self, texts: Sequence[str]) -> int:
        return sum(len(self.tokenizer.unknown(text)) for text in texts)

    def _report_unknown(self, count: int) -> None:
        if count:
            self.notify(f"{count:,} tokens of the input were not in the vocabulary and read as <unk>")


def _as_list(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text


def open_run(
    folder: str | Path,
    *,
    engine: EngineName | Literal["fastest"] | None = None,
    checkpoint: CheckpointName = "last",
    notify: Notify = say,
) -> Run:
    """Open the run in a folder. Model and data are loaded when they are first used.

    `engine` is the engine to compute with, by default the one that trained the run; "fastest": C instead of PyTorch,
    where that writes faster on this machine. With `checkpoint` "best" the model is that of the lowest validation loss,
    which a run with `train.patience` keeps. `notify` is called with notices, such as about truncated texts, and prints
    them to standard error by default. Raises RunError if there is no run, ConfigError or DataError if its files are
    damaged.
    """
    opened = open_folder(Path(folder), notify, checkpoint)
    if engine == "fastest":
        from clearformer.engines.fastest import fastest_engine

        engine = fastest_engine(opened.config, notify)
    return Run.from_folder(opened, engine)
