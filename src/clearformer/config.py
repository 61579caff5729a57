"""Everything that determines a run, as frozen dataclasses: data, tokenizer, model, training.

A configuration is validated when it is made. It is written to JSON, and read from JSON or TOML; an unknown key is an
error. A preset is a function in `recipes.py`; a variant is made with `dataclasses.replace`.
"""

import dataclasses
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

from clearformer.errors import ConfigError

FORMAT = 1
"""version of the configuration's file format; newer versions are refused"""


class _Section(Protocol):
    section: ClassVar[str]
    """path of the dataclass in a configuration; empty for the configuration itself"""


def _require(condition: bool, owner: _Section, name: str, expected: str) -> None:
    if not condition:
        field = f"{owner.section}.{name}".lstrip(".")
        raise ConfigError(f"{field} must be {expected}, found {getattr(owner, name)!r}; change that value", field)


IMPORTED = "imported"
"""the dataset and the tokenizer of a model that was trained elsewhere"""
EngineName = Literal["torch", "numpy", "tinygrad", "c"]
Activation = Literal["relu", "gelu", "squared_relu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh"]
GATED = ("swiglu", "geglu", "geglu_tanh")
"""activations with which one half of the feed-forward layer's hidden vector gates the other"""
Operation = Literal["add", "subtract", "multiply", "divide", "quadratic"]
MAX_MODULUS = 997
Positions = Literal["sinusoidal", "learned", "rotary", "alibi", "relative", "none"]
BUCKETS = 32
"""of distances, in relative positions"""


class RotaryScaling(NamedTuple):
    """The settings of a model whose names begin with rotary_, but for the base."""

    factor: float = 1.0
    context: int = 0
    low: float = 1.0
    high: float = 4.0


@dataclass(frozen=True)
class ModelConfig:
    """The settings that all families share; the defaults, unless a family overrides them, are GPT-2 small.

    Every size counts elements; dropout is a probability.
    """

    kind: ClassVar[str]
    section: ClassVar[str] = "model"

    vocab_size: int
    """V: upper limit of the vocabulary; a run lowers it to the size of its tokenizer's"""
    context: int
    """longest sequence, in tokens"""
    d_model: int = 768
    """D: width of a token's vector"""
    num_heads: int = 12
    """H: attention heads"""
    num_layers: int = 12
    """L: layers (of each stack, where there are two)"""
    d_ff: int = 3072
    """F: width of the feed-forward layer's hidden vector"""
    dropout: float = 0.1
    """probability that an element is set to zero in training"""
    norm: Literal["layer", "rms", "none"] = "layer"
    """LayerNorm, RMSNorm, or none in the whole model, as in studies of small models; none has no order"""
    norm_order: Literal["pre", "post"] = "pre"
    """pre: normalise the input of each sub-layer; post: normalise the sum of its input and output, as the paper does"""
    activation: Activation = "gelu"
    """of the feed-forward layer; gelu_tanh is GPT-2's approximation of gelu; swiglu, geglu and geglu_tanh are gated"""
    norm_epsilon: float = 1e-5
    """added to the variance, or to the mean square, that a norm divides by"""
    positions: Positions = "learned"
    """sinusoidal and learned vectors are added to the embeddings; rotary rotates queries and keys; alibi lowers scores
    by distance; relative adds learned numbers to scores, one for each head and bucket of distances, as T5 does; none
    (Kazemnejad et al. 2023, arXiv:2305.19466): a decoder infers the order from the causal mask"""
    rotary_base: float = 10_000.0
    """of rotary positions: the wavelengths grow from 2π to nearly 2π times it"""
    rotary_factor: float = 1.0
    """of rotary positions: their wavelengths are multiplied by it, for a longer context (Chen et al. 2023,
    arXiv:2306.15595): all of them or, with rotary_context, the long ones, as in Llama 3.1"""
    rotary_context: int = 0
    """of rotary positions with a factor: tokens of the context before it was longer; 0: all wavelengths change"""
    rotary_low: float = 1.0
    """wavelengths that fit into rotary_context at most so many times are multiplied by rotary_factor"""
    rotary_high: float = 4.0
    """wavelengths that fit into rotary_context at least so many times are kept; between both lies a mean"""
    bias: bool = True
    """whether the linear layers add a bias"""
    scale_embeddings: bool = False
    """whether token embeddings are multiplied by sqrt(d_model), as the paper does"""
    tie_embeddings: bool = True
    """whether the output projection shares the token embedding's matrix"""
    num_kv_heads: int = 0
    """G: key-value heads, each shared by num_heads / G query heads; 0: num_heads; 1: multi-query"""
    head_width: int | None = None
    """E: width of one head's query, key or value; none: d_model / num_heads"""
    window: int = 0
    """in self-attention a token attends to those less than so many positions away; 0: to all"""
    qk_norm: bool = False
    """whether each head's queries and keys are normalised"""
    ngram_buckets: int = 0
    """rows of each hashed embedding: of the last two tokens, and of the last three; 0: no such embeddings"""
    logit_cap: float = 0.0
    """a tanh keeps logits between minus and plus this number; 0: no cap"""
    zero_outputs: bool = False
    """whether the matrices that write to the residual stream, and an untied output projection, are zero at first"""
    initial_std: float = 0.02
    """standard deviation of the initial matrices; an encoder-decoder's have Glorot's"""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "d_model", "num_heads", "num_layers", "d_ff"):
            _require(getattr(self, name) >= 1, self, name, "at least 1")
        if self.head_width is None:
            _require(self.d_model % self.num_heads == 0, self, "num_heads", f"a divisor of d_model ({self.d_model})")
        else:
            _require(self.head_width >= 1, self, "head_width", "at least 1")
        if self.positions == "sinusoidal":
            _require(self.d_model % 2 == 0, self, "d_model", "even, as sinusoidal positions need")
        if self.positions == "rotary":
            name, even = "d_model", "an even multiple of num_heads, as rotary needs"
            if self.head_width is not None:
                name, even = "head_width", "even, as rotary positions need"
            _require(self.key_width % 2 == 0, self, name, even)
        for name in ("num_kv_heads", "window", "ngram_buckets", "rotary_context"):
            _require(getattr(self, name) >= 0, self, name, "at least 0")
        _require(
            self.num_heads % self.kv_heads == 0, self, "num_kv_heads", f"a divisor of num_heads ({self.num_heads})"
        )
        _require(self.norm != "none" or not self.qk_norm, self, "qk_norm", "false, since norm is none")
        _require(0.0 <= self.dropout < 1.0, self, "dropout", "at least 0 and below 1")
        _require(0.0 <= self.logit_cap < math.inf, self, "logit_cap", "at least 0 and finite")
        for name in ("initial_std", "norm_epsilon", "rotary_base", "rotary_factor", "rotary_low", "rotary_high"):
            _require(0.0 < getattr(self, name) < math.inf, self, name, "above 0 and finite")
        _require(self.rotary_low < self.rotary_high, self, "rotary_high", f"above rotary_low ({self.rotary_low})")

    @property
    def kv_heads(self) -> int:
        """G: key-value heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def rotary_scaling(self) -> RotaryScaling:
        """How the frequencies of rotary positions are scaled."""
        return RotaryScaling(self.rotary_factor, self.rotary_context, self.rotary_low, self.rotary_high)

    @property
    def linear1_width(self) -> int:
        """Output width of the feed-forward layer's first matrix: F, or 2F if the activation is gated."""
        return 2 * self.d_ff if self.activation in GATED else self.d_ff

    @property
    def key_width(self) -> int:
        """E: width of one head's query, key or value, the paper's d_k and d_v."""
        return self.d_model // self.num_heads if self.head_width is None else self.head_width


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """An encoder-decoder; the defaults are the base model of Vaswani et al. 2017, arXiv:1706.03762, table 3."""

    kind: ClassVar[str] = "transformer"

    vocab_size: int = 37_000
    context: int = 512
    d_model: int = 512
    num_heads: int = 8
    num_layers: int = 6
    d_ff: int = 2048
    norm_order: Literal["pre", "post"] = "post"
    activation: Activation = "relu"
    positions: Positions = "sinusoidal"
    scale_embeddings: bool = True
    output_bias: bool = False
    """whether a learned number for each token is added to its logit, as in Marian"""


@dataclass(frozen=True)
class GPTConfig(ModelConfig):
    """A decoder-only language model; the defaults are GPT-2 small (Radford et al. 2019)."""

    kind: ClassVar[str] = "gpt"

    vocab_size: int = 50_257
    context: int = 1024


@dataclass(frozen=True)
class _BERTBase(ModelConfig):
    """The settings that BERT and classifiers share; the defaults are BERT base (Devlin et al. 2018)."""

    vocab_size: int = 30_522
    context: int = 512
    norm_order: Literal["pre", "post"] = "post"
    segments: int = 0
    """number of segment embeddings, which tell the texts of an input apart; 0: none"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.segments >= 0, self, "segments", "at least 0")


@dataclass(frozen=True)
class BERTConfig(_BERTBase):
    """A masked language model; the defaults are BERT base (Devlin et al. 2018)."""

    kind: ClassVar[str] = "bert"

    segments: int = 2
    """number of segment embeddings, which tell the texts of an input apart; 0: none"""
    mask_share: float = 0.15
    """share of the tokens to predict: 80 % of them masked, 10 % replaced at random, 10 % left as they are"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0.0 < self.mask_share < 1.0, self, "mask_share", "above 0 and below 1")


@dataclass(frozen=True)
class ClassifierConfig(_BERTBase):
    """A text classifier on the body of a BERT or of a GPT."""

    kind: ClassVar[str] = "classifier"

    body: Literal["bert", "gpt"] = "bert"
    """bert: every token attends to all others; gpt: only to earlier ones"""
    pooling: Literal["first", "last", "mean"] = "first"
    """the vector that is classified: of the first token (BERT's [CLS]), of the last, or the mean of all"""
    num_classes: int = 2
    """C: a run sets it to the number of classes in its data"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.num_classes >= 2, self, "num_classes", "at least 2")
        if self.body == "gpt":
            _require(
                self.pooling != "first",
                self,
                "pooling",
                "last or mean, since a GPT's first token attends only to itself",
            )
            _require(self.segments == 0, self, "segments", "0, since a GPT has no segments")


LAST_ONLY: dict[str, tuple[str | int | float, ...]] = {
    "num_layers": (1,),
    "norm_order": ("pre",),
    "positions": ("learned", "sinusoidal"),
    "ngram_buckets": (0,),
    "window": (0,),
    "dropout": (0.0,),
}
"""the settings of a GPT of which `last_logits` computes the last token alone"""

AnyModelConfig = TransformerConfig | GPTConfig | BERTConfig | ClassifierConfig


@dataclass(frozen=True)
class _FallingSchedule:
    """Linear warm-up to `peak`, then a decay to `final`."""

    section: ClassVar[str] = "train.schedule"

    peak: float = 1e-3
    """highest learning rate"""
    final: float = 1e-4
    """learning rate of the last step"""
    warmup_steps: int = 100
    """steps in which the rate rises to the peak"""

    def __post_init__(self) -> None:
        _require(self.peak > 0 and math.isfinite(self.peak), self, "peak", "above 0")
        _require(0 <= self.final <= self.peak, self, "final", f"between 0 and peak ({self.peak})")
        _require(self.warmup_steps >= 0, self, "warmup_steps", "at least 0")


@dataclass(frozen=True)
class CosineSchedule(_FallingSchedule):
    """Linear warm-up to `peak`, then half a cosine down to `final` at the last step."""

    kind: ClassVar[str] = "cosine"


@dataclass(frozen=True)
class LinearSchedule(_FallingSchedule):
    """Linear warm-up to `peak`, which is held, then a linear decay to `final` at the last step."""

    kind: ClassVar[str] = "linear"

    final: float = 0.0
    cooldown: float = 1.0
    """share of all steps in which the rate decays; 1: from the end of the warm-up"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0.0 < self.cooldown <= 1.0, self, "cooldown", "above 0 and at most 1")


@dataclass(frozen=True)
class PaperSchedule:
    """The paper's section 5.3: `factor` · d_model^-0.5 · min(step^-0.5, step · warmup_steps^-1.5)."""

    kind: ClassVar[str] = "paper"
    section: ClassVar[str] = "train.schedule"

    factor: float = 1.0
    """multiplies the paper's learning rate"""
    warmup_steps: int = 4000
    """steps in which the rate rises to the peak"""

    def __post_init__(self) -> None:
        _require(self.factor > 0 and math.isfinite(self.factor), self, "factor", "above 0")
        _require(self.warmup_steps >= 1, self, "warmup_steps", "at least 1")


Schedule = CosineSchedule | LinearSchedule | PaperSchedule


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Nothing depends on wall-clock time."""

    section: ClassVar[str] = "train"

    steps: int = 1000
    """updates of the weights"""
    batch_tokens: int = 4096
    """tokens in one batch: windows times their length, or source and target together, with padding"""
    accumulation: int = 1
    """batches whose gradients are averaged, weighted by their tokens, for one update"""
    schedule: Schedule = field(default_factory=CosineSchedule)
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: for matrices inside the layers; AdamW still updates embeddings, the output projection and vectors"""
    beta1: float = 0.9
    """AdamW's decay rate of the mean of gradients"""
    beta2: float = 0.98
    """AdamW's decay rate of the mean of squared gradients"""
    epsilon: float = 1e-9
    """added to the denominator of AdamW's update"""
    weight_decay: float = 0.1
    """on matrices only; biases and norms are not decayed"""
    clip: float = 1.0
    """largest gradient norm; 0: gradients are not clipped"""
    label_smoothing: float = 0.0
    """share of the target's probability that is spread over all tokens"""
    loss_precision: Literal["float32", "float64"] = "float32"
    """of the softmax in the training loss: float32 rounds losses below 1e-7 to 0, and so their gradients"""
    last_only: bool = False
    """of equations: whether PyTorch computes the logits of the last token alone, as nothing else is predicted"""
    token_loss: bool = False
    """of a classifier with mean pooling: whether each token is trained to predict the class by itself"""
    seed: int = 1
    """of weights, batches and dropout; runs with the same seed are the same"""
    log_every: int = 10
    """steps between lines of metrics"""
    validate_every: int = 250
    """steps between validation losses"""
    validation_tokens: int = 20_000
    """approximate number of tokens of the validation split to use in training"""
    samples: int = 0
    """validation examples whose outputs are shown at each validation, and kept for the report: a text that goes on, a
    translation, filled masks, a class; 0: none"""
    stop_below: float = 0.0
    """training ends before its last step once a validation loss is below this"""
    patience: int = 0
    """training ends once so many validations in a row brought no new best loss, and the weights of the best are kept
    beside the last checkpoints, for --checkpoint best; 0: neither"""
    checkpoint_every: int = 500
    """steps between checkpoints"""
    keep_checkpoints: int = 2
    """number of checkpoints to keep, the newest ones"""
    milestones: int = 0
    """weights to keep for good while the number of steps doubles, at even distances on a logarithmic scale; 0: none"""
    average_checkpoints: int = 1
    """number of newest checkpoints whose mean is the trained model (5 in the paper's section 6.1)"""
    precision: Literal["auto", "native", "float32", "bfloat16"] = "auto"
    """of matrix products in training; auto: bfloat16 on a CUDA device that supports it, else float32; native: also on
    a CPU that supports it. Weights are always float32; evaluation and generation use auto, so that runs compare"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """of PyTorch; auto: the fastest available"""
    parallel: Literal["none", "ddp", "fsdp"] = "none"
    """how the processes that torchrun starts share each batch: with ddp all have the whole model, with fsdp a part"""

    def __post_init__(self) -> None:
        counts = ("steps", "batch_tokens", "accumulation", "log_every", "validate_every", "validation_tokens")
        for name in (*counts, "checkpoint_every", "keep_checkpoints", "average_checkpoints"):
            _require(getattr(self, name) >= 1, self, name, "at least 1")
        most = f"at most keep_checkpoints ({self.keep_checkpoints})"
        _require(self.average_checkpoints <= self.keep_checkpoints, self, "average_checkpoints", most)
        for name in ("beta1", "beta2", "label_smoothing"):
            _require(0.0 <= getattr(self, name) < 1.0, self, name, "at least 0 and below 1")
        for name in ("weight_decay", "clip", "seed", "milestones", "stop_below", "patience", "samples"):
            _require(0.0 <= getattr(self, name) < math.inf, self, name, "at least 0 and finite")
        _require(0.0 < self.epsilon < math.inf, self, "epsilon", "above 0 and finite")


@dataclass(frozen=True)
class ModularConfig:
    """Equations modulo a prime; the default is that of Nanda et al. 2023, arXiv:2301.05217."""

    section: ClassVar[str] = "modular"

    modulus: int = 113
    """p: a prime"""
    operation: Operation = "add"
    """a + b, a - b, a * b, a / b, or a^2 + ab + b^2 (quadratic)"""
    train_fraction: float = 0.3
    """share of all equations that is learned; the others are held out"""

    def __post_init__(self) -> None:
        prime = self.modulus >= 2 and all(self.modulus % n for n in range(2, math.isqrt(self.modulus) + 1))
        expected = f"a prime of at most {MAX_MODULUS}, since all equations make one batch"
        _require(prime and self.modulus <= MAX_MODULUS, self, "modulus", expected)
        _require(0.0 < self.train_fraction < 1.0, self, "train_fraction", "above 0 and below 1")


@dataclass(frozen=True)
class Config:
    """A whole run: data, tokenizer, model, engine and training."""

    section: ClassVar[str] = ""

    dataset: str
    """name of a built-in or downloadable corpus; `clearformer data list` shows them"""
    model: AnyModelConfig
    tokenizer: Literal["character", "bpe", "word", "number", "imported"] = "character"
    """what a token is: a character, a piece of a word by byte-pair encoding, a word, a number of an equation, or what
    an imported model has learned"""
    data: tuple[str, ...] = ()
    """files, or one folder, to read in place of the named corpus: text, JSONL or Parquet, a TSV of source and target
    pairs, or a CSV or TSV of labelled texts"""
    data_column: str = "text"
    """which column of a JSONL or Parquet file has the text"""
    reverse_pairs: bool = False
    """whether to translate from the second side of each pair to the first"""
    engine: EngineName = "torch"
    """the library that computes"""
    start_from: str = ""
    """a run to take the tokenizer and the weights of the same names from, such as a BERT for a classifier"""
    modular: ModularConfig | None = None
    """equations to learn in place of a corpus"""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.model.kind != "transformer":
            _require(not self.reverse_pairs, self, "reverse_pairs", f"false, since a {self.model.kind} reads no pairs")
        if not (isinstance(self.model, ClassifierConfig) and self.model.pooling == "mean"):
            _require(not self.train.token_loss, self.train, "token_loss", "false unless a classifier has mean pooling")
        _require(self.train.parallel == "none" or self.engine == "torch", self.train, "parallel", "none but with torch")
        self._require_equations()
        if self.train.last_only:
            self._require_last_only()

    def _require_equations(self) -> None:
        if self.modular is None:
            _require(self.tokenizer != "number", self, "tokenizer", "another, since numbers are for equations")
            return
        _require(self.model.kind == "gpt", self, "model", "a gpt, which can answer an equation,")
        _require(self.tokenizer == "number", self, "tokenizer", "number, since equations are learned")
        _require(self.model.context >= 3, self.model, "context", "at least 3, the length of an equation")
        for name, none in (("data", ()), ("start_from", "")):
            _require(getattr(self, name) == none, self, name, "empty, since equations are learned")

    def _require_last_only(self) -> None:
        """What makes keys and values functions of token and position, so that nothing else reaches the last token."""
        _require(self.modular is not None, self.train, "last_only", "false unless equations are learned")
        _require(self.train.parallel != "fsdp", self.train, "last_only", "false with parallel fsdp")
        for name, values in LAST_ONLY.items():
            expected = f"{' or '.join(map(str, values))} where train.last_only is set"
            _require(getattr(self.model, name) in values, self.model, name, expected)

    def to_json(self) -> str:
        """The configuration as a JSON object with its `format`, and `kind` where a field is one of several classes."""
        return json.dumps({"format": FORMAT} | _to_dict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration in a decoded JSON or TOML table. Raises ConfigError for an unknown key or invalid value."""
        values = dict(values)
        found = values.pop("format", FORMAT)
        if not isinstance(found, int) or found > FORMAT:
            raise ConfigError(
                f"a configuration of format {FORMAT} or older was expected, found format {found!r}; "
                "upgrade clearformer to read it"
            )
        return typing.cast(Self, _from_dict(cls, values, ""))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a .json or .toml file. Raises ConfigError if it cannot be read or is not a valid configuration."""
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"a configuration in JSON or TOML was expected in {path}, but: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"an object of keys and values was expected in {path}, found {type(values).__name__}")
        return cls.from_dict(values)


def _to_dict(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        values = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        return kind | {name: _to_dict(item) for name, item in values.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value


def _from_dict(cls: type, values: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(cls)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(
            f"{where or 'configuration'} has the unknown key {unknown[0]!r}; it may have {', '.join(known)}"
        )
    required = [name for name, item in known.items() if item.default is item.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in values]:
        raise ConfigError(f"{where or 'configuration'} lacks the key {missing[0]!r}; add it")
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}".lstrip(".")) for name, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value`, checked against the type a field declares."""
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if types.NoneType in choices:  # an absent key is None
        return _convert(choices[0], value, where)
    if origin is types.UnionType:  # of dataclasses, told apart by `kind`
        by_kind = {choice.kind: choice for choice in choices}
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in by_kind:
            raise ConfigError(f"{where}.kind must be one of {', '.join(by_kind)}, found {kind!r}; change that value")
        return _from_dict(by_kind[kind], {key: item for key, item in value.items() if key != "kind"}, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _from_dict(typing.cast(type, hint), value, where)
    if origin is Literal:
        fits, expected = value in choices, f"one of {', '.join(map(str, choices))}"
    elif origin is tuple:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        value, expected = tuple(value) if fits else value, "a list of strings"
    elif hint is float:
        fits, expected = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        value = float(value) if fits else value
    else:
        fits, expected = type(value) is hint, f"of type {hint.__name__}"
    if not fits:
        raise ConfigError(f"{where} must be {expected}, found {value!r}; change that value")
    return value
