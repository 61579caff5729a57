"""A run as an object: what its model does, text in and text out.

    run = clearformer.open_run("runs/dates")
    run.translate("March 3rd, 1999")                    # "1999-03-03"

Each family has its method: `translate` (transformer), `generate` and `stream` (gpt), `fill` (bert), `classify`
(classifier). A method that takes one text takes a list of texts too, and then returns a list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from clearformer.api.display import Display, say
from clearformer.config import EngineName
from clearformer.data.corpora import Split
from clearformer.errors import ClearformerError, PromptError, RunError
from clearformer.generation.sampling import Sampling
from clearformer.models.initial import count_parameters
from clearformer.runs import metrics
from clearformer.runs.checkpoint import newest_step
from clearformer.runs.folder import RunFolder, open_folder
from clearformer.runs.splits import Notify

if TYPE_CHECKING:
    from clearformer.generation.beam import Beam
    from clearformer.generation.classification import Classified
    from clearformer.generation.fill import Filled, Filler
    from clearformer.generation.translation import Translation
    from clearformer.inspection.attention import AttentionMap

USES = {
    "transformer": ("translates", "translate"),
    "gpt": ("writes text", "generate"),
    "bert": ("fills in hidden tokens", "fill"),
    "classifier": ("classifies texts", "classify"),
}
"""family -> what it does, and the command and the method for it"""


@dataclass(frozen=True, repr=False)
class Run(RunFolder):
    """One run, opened: its folder, and the model in it. Make one with `train` or `open_run`."""

    engine: EngineName | None = None
    """the library that computes; None: the one that the run was trained by"""

    @classmethod
    def of(cls, folder: RunFolder, engine: EngineName | None = None) -> "Run":
        """Return a run with all that was read of its folder already: data is read, and notices are given, once."""
        run = cls(folder.folder, folder.config, folder.tokenizer, folder.notify, engine)
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
            f"  use: run.{USES[family][1]}(text), run.evaluate(), run.attention(text), run.model, run.tokenizer"
        )

    def _losses(self) -> str:
        lines = metrics.read(self.metrics)
        measured = [line["validation_loss"] for line in lines if "validation_loss" in line]
        training = f", loss {lines[-1]['loss']:.3f}" if lines else ""
        return training + (f", on validation {measured[-1]:.3f} nats a token" if measured else "")

    @cached_property
    def _loaded(self) -> tuple[Any, int]:
        from clearformer.runs.session import load_model

        return load_model(self, self.engine)

    @property
    def model(self) -> Any:
        """The trained model in evaluation mode; of PyTorch, an `nn.Module`.

        Raises CheckpointError if no checkpoint was saved yet.
        """
        return self._loaded[0]

    @property
    def step(self) -> int:
        """The number of updates that the model was trained for."""
        return self._loaded[1]

    def forget_model(self) -> None:
        """Drop the model that was loaded: training will change what is on disk."""
        for name in ("_loaded", "_filler"):
            self.__dict__.pop(name, None)

    def resume(self) -> "Run":
        """Train on to the last step, exactly where the run stopped, and write the report; return the run.

        Raises KeyboardInterrupt if it was interrupted, after the step just done is saved.
        """
        from clearformer.api.training import train_and_report

        if train_and_report(self):
            raise KeyboardInterrupt
        return self

    def evaluate(
        self, split: Split | Literal["auto"] = "auto", *, beam: int = 1, length_penalty: float = 0.6
    ) -> dict[str, Any]:
        """Return the scores of the model on a split, and those of the untrained model under "untrained".

        "auto" is the test split, or validation where there is none. `loss` is in nats a predicted token; pairs also
        get `exact_match` (0 to 1) and `bleu` (0 to 100), translated with `beam` hypotheses; hidden tokens and classes
        `accuracy` (0 to 1), classes `macro_f1` and `confusion`. Raises DataError for a split that the data lacks.
        """
        from clearformer.evaluation.evaluate import evaluate
        from clearformer.generation.beam import Beam

        search = Beam(beam, length_penalty)
        default: Split = "test" if self.corpus.test else "validation"
        with Display("measuring", 1) as display:
            return evaluate(
                self,
                default if split == "auto" else split,
                lambda what, done, count: display.show(done, what, count),
                search,
                self.engine,
            )

    @overload
    def translate(self, text: str, *, beam: int = 4, length_penalty: float = 0.6) -> str: ...
    @overload
    def translate(self, text: list[str], *, beam: int = 4, length_penalty: float = 0.6) -> list[str]: ...
    def translate(self, text: str | list[str], *, beam: int = 4, length_penalty: float = 0.6) -> str | list[str]:
        """Return the best translation that beam search finds; `beam=1` is greedy.

        A larger `length_penalty` lets longer translations win (Wu et al. 2016, arXiv:1609.08144). Raises PromptError
        for a text longer than the model's context, RunError if the run is no translator.
        """
        from clearformer.generation.beam import Beam

        texts = _listed(text)
        self._announce_unknown(texts)
        found = [best[0].text for best in self.translations(texts, Beam(beam, length_penalty))]
        return found[0] if isinstance(text, str) else found

    def translations(self, texts: Sequence[str], beam: "Beam", *, cached: bool = True) -> "list[list[Translation]]":
        """Return the `beam.n_best` translations of each text, best first; an empty text stays empty."""
        from clearformer.generation.translation import Translation, n_best_texts

        self.require("transformer")
        full = [text for text in texts if text.strip()]
        found = iter(n_best_texts(self.model, self.tokenizer, full, beam, cached=cached))
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
    ) -> str | list[str]:
        """Return what the model writes after the prompt, without the prompt; the same seed gives the same text.

        `temperature` 0 takes the likeliest token each time; `top_k` (0: all) and `top_p` leave out unlikely ones. Where
        the context is full the model goes on from its later half. Raises PromptError for an empty prompt, a character
        that the vocabulary lacks or a setting out of range, RunError if the run is no language model.
        """
        sampling = Sampling(temperature, top_k, top_p, seed)
        rows = zip(*self.continue_prompts(_listed(prompt), max_new_tokens, sampling), strict=True)
        written = [self.tokenizer.decode(row) for row in rows]
        return written[0] if isinstance(prompt, str) else written

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
    ) -> Iterator[str]:
        """Return an iterator over the pieces of the text that `generate` returns, each as soon as it is there."""
        from clearformer.generation.decoding import decode_stream

        steps = self.continue_prompts([prompt], max_new_tokens, Sampling(temperature, top_k, top_p, seed))
        return decode_stream(self.tokenizer, (tokens[0] for tokens in steps))

    def continue_prompts(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        sampling: Sampling,
        *,
        slide: bool = True,
        cached: bool = True,
    ) -> Iterator[list[int]]:
        """Return an iterator over steps, each the ids of one new token a prompt.

        With `slide` the context goes on from its later half where it is full; else that raises PromptError.
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
        return generate(self.model, ids, max_new_tokens, sampling, slide=slide, cached=cached)

    @overload
    def fill(self, text: str) -> str: ...
    @overload
    def fill(self, text: list[str]) -> list[str]: ...
    def fill(self, text: str | list[str]) -> str | list[str]:
        """Return the text with the likeliest token at each <mask>; no guess knows of another.

        Raises PromptError for a text without <mask> or longer than the model's context, RunError if the run is no BERT.
        """
        texts = _listed(text)
        self._announce_unknown([part for each in texts for part in each.split("<mask>")])
        found = [filled.text for filled in self.fillings(texts)]
        return found[0] if isinstance(text, str) else found

    def fillings(self, texts: Sequence[str], top: int = 1) -> "list[Filled]":
        """Return each text filled in, with the `top` likeliest tokens of each <mask> and their probabilities."""
        self.require("bert")
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

        What the model's context has no room for is cut, and `notify` says so. Raises RunError if the run is no
        classifier.
        """
        texts = _listed(text)
        self._announce_unknown(texts)
        found = self.classifications(texts)
        if found.truncated:
            self.notify(f"{found.truncated:,} of {len(texts):,} texts are too long for the context: truncated")
        labels = [self.classes[index] for index in found.probabilities.argmax(-1)]
        return labels[0] if isinstance(text, str) else labels

    def classifications(self, texts: Sequence[str]) -> "Classified":
        """Return the probability of each class for each text, [N, C] in the order of `classes`."""
        from clearformer.generation.classification import classify

        self.require("classifier")
        return classify(self.model, self.tokenizer, [text.split("\t") for text in texts])

    def attention(
        self, text: str, target: str | None = None, *, layer: int = -1, head: int | None = None
    ) -> "AttentionMap":
        """Return a picture of where each token looks: a notebook shows it, and `.save("x.svg")` writes it.

        Of a translator it is cross-attention from `target` (by default the model's own translation) to the text, else
        self-attention. `layer` counts from 0, or from the end if negative; `head` None is the mean over heads. Raises
        PromptError for a text longer than the context, and a layer or head that is not there.
        """
        from clearformer.inspection.attention import attention_map
        from clearformer.runs.session import load_model

        if self.config.model.kind == "transformer" and target is None:
            target = self.translate(text)
        model = self.model if self._computes_with_torch else load_model(self, "torch")[0]
        return attention_map(model, self.tokenizer, text, target or "", layer=layer, head=head)

    @property
    def _computes_with_torch(self) -> bool:
        return (self.engine or self.config.engine) == "torch"

    def require(self, kind: str) -> None:
        """Raise RunError, naming the command for this run, unless it is of that family."""
        does, use = USES[self.config.model.kind]
        if self.config.model.kind != kind:
            raise RunError(
                f"a run that {USES[kind][0]} was expected, but {self.folder} {does}; use: clearformer {use} "
                f"{self.folder}, or run.{use} in Python"
            )

    def _announce_unknown(self, texts: Sequence[str]) -> None:
        if unknown := sum(len(self.tokenizer.unknown(text)) for text in texts):
            self.notify(f"{unknown:,} tokens of the input were not in the vocabulary and read as <unk>")


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text


def open_run(folder: str | Path, *, engine: EngineName | None = None, notify: Notify = say) -> Run:
    """Open the run in a folder. Nothing is loaded before it is needed.

    `engine` is the library that computes, by default the one that the run was trained by. `notify` is called with a
    sentence wherever there is something to say, and prints it to standard error by default. Raises RunError if there is
    no run, ConfigError or DataError if its files are damaged.
    """
    return Run.of(open_folder(Path(folder), notify), engine)
