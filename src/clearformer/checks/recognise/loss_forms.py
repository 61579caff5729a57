"""The forms in which a model's loss may be called: by `forward` with targets, or by a method of any of these names."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from clearformer.checks.recognise import heads, signature
from clearformer.checks.recognise.encoder_decoder_calls import PairCall
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Subject

SURE = ("loss", "nll", "training_step", "train_step", "cross_entropy")
METHODS = (*SURE, "likelihood", "objective", "xent", "ce", "train_batch", "shared_step", "forward_train")
OTHER_LOSSES = (
    *("aux", "auxiliary", "balance", "balancing", "router", "z", "reg", "regularization", "regularisation"),
    *("contrastive", "distill", "distillation", "kl", "kd", "value", "policy", "reward", "nsp", "penalty"),
)
"""words in the names of losses that are no cross-entropy of tokens"""
TARGETS = ("targets", "target", "y", "labels", "label", "tgt", "trg", "gold", "next", "tags", "classes")
LOGITS = ("logits", "logit", "pred", "preds", "prediction", "predictions", "output", "outputs", "scores")
BATCHES = ("batch", "data", "sample", "samples", "example", "examples", "features")
MASKS = ("mask", "real", "attention_mask", "padding", "loss_mask", "weight", "weights")
LENGTHS = ("lengths", "lens", "length")
"""how many labels of each row count, which is as good as a mask"""
INDICES = ("idx", "index", "step", "i")


def is_target(name: str) -> bool:
    """Whether an argument of this name takes labels; a "segment_label" says which sentence a token is of."""
    return signature.has_word(name, TARGETS) and name not in signature.SEGMENTS


@dataclass(frozen=True)
class LossForm:
    """A form of call, as text and as a function of the model, its inputs and, unless it reads none, labels."""

    description: str
    run: Callable[..., Any]
    takes_labels: bool
    certain: bool
    """whether the names say what it takes, so that a value which is no cross-entropy is a mistake"""
    label_name: str = ""
    mask_name: str = ""
    """of the argument that says which labels count; `run` takes it as `mask`"""
    needs_mask: bool = False


class Batch(dict[str, Tensor]):
    """A batch in which every key and attribute is found: the labels under a name of labels, else the tokens."""

    def __init__(self, tokens: Tensor, labels: Tensor | None = None, mask: Tensor | None = None) -> None:
        super().__init__(tokens=tokens, labels=tokens if labels is None else labels)
        if mask is not None:
            self["mask"] = mask

    def __missing__(self, name: str) -> Tensor:
        if name == "labels":
            raise KeyError(name)
        if signature.has_word(name, MASKS):
            return self["mask"]
        return self["labels" if signature.has_word(name, TARGETS) else "tokens"]

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Only what is certain: a mask is there if it was given."""
        is_mask = "mask" in self and signature.has_word(name, MASKS)
        is_target = "labels" in self and signature.has_word(name, TARGETS)
        return self[name] if name in self or is_mask or is_target else default

    def pop(self, name: str, *default: Any) -> Any:
        """As of a dictionary that has the name."""
        found = self.get(name, *default) if default else self[name]
        for key in [key for key, value in self.items() if value is found][:1]:
            del self[key]
        return found


def forms(subject: Subject, only: str | None = None) -> Iterator[LossForm]:
    """Those of `forward`, then those of each method; or of the method `only`."""
    parameters = signature.parameters(subject.model)
    inputs = 2 if subject.kind == "encoder-decoder" else 1
    pair = _pair(subject)
    for name in [name for name in [*parameters][0 if pair else inputs :] if is_target(name) and name not in pair]:
        if only in (None, "forward"):
            takes = "source, tokens" if inputs == 2 else "tokens"
            if pair and parameters[pair[1]].default is None:
                yield LossForm(f"model(source, {name}=labels)", partial(_by_keyword, name), False, True, name)
            run = partial(_by_names, (*pair, name)) if pair else partial(_by_keyword, name)
            yield LossForm(f"model({takes}, {name}=labels)", run, True, True, name)
    second = next(iter([*parameters][1:2]), "")
    if inputs == 2 and is_target(second) and second != "tgt" and only in (None, "forward"):
        yield LossForm(f"model(source, {second}=labels)", partial(_by_keyword, second), False, False, second)
    if heads.gives_its_loss(subject.call) and only in (None, "forward"):
        yield LossForm("model(tokens)", lambda model, tokens: model(tokens), False, True)
    for method in signature.methods(subject.model, METHODS) if only is None else [only] * (only != "forward"):
        is_sure = signature.has_word(method, SURE) and not signature.has_word(method, OTHER_LOSSES)
        for form in _forms_of_method(subject, method, inputs):
            yield form if is_sure else replace(form, certain=False)


def _pair(subject: Subject) -> tuple[str, ...]:
    """The names of the source and the target in the subject's call, where it is one of an encoder-decoder by names."""
    call = getattr(subject.call, "__self__", None)
    return (call.source, call.target) if isinstance(call, PairCall) and call.frames is None else ()


def _forms_of_method(subject: Subject, method: str, inputs: int) -> Iterator[LossForm]:
    parameters = signature.parameters(signature.method(subject.model, method))
    masks_or_lengths = [name for name in [*parameters][inputs:] if signature.has_word(name, (*MASKS, *LENGTHS))]
    mask = next((name for name in masks_or_lengths if not signature.is_prefix(name)), "")
    names = [name for name in parameters if name != mask]
    required = [name for name in signature.required(parameters) if name != mask]
    masks: dict[str, Any] = {"mask_name": mask, "needs_mask": mask in signature.required(parameters)}
    if not names or len(required) > inputs + 2:
        return
    called = f"model.{method}"
    second = names[inputs] if len(names) > inputs else ""
    if signature.has_word(names[0], LOGITS):
        if len(names) > 1 and len(required) <= 2:
            yield LossForm(f"{called}(logits, labels)", partial(_on_logits, subject, method), True, True, names[1])
    elif signature.has_word(names[0], BATCHES):
        yield from _forms_of_batch(method, required, inputs)
    else:
        takes = "source, tokens" if inputs == 2 else "tokens"
        run = partial(_by_method, method, names, mask)
        is_target = signature.has_word(second, TARGETS)
        if second and len(required) <= inputs + 1 and (len(required) > inputs or is_target):
            yield LossForm(f"{called}({takes}, labels)", run, True, is_target, second, **masks)
        if second and len(required) == inputs + 1 and not is_target and not mask:
            of_mask = partial(_by_method, method, [name for name in names if name != second], second)
            yield LossForm(f"{called}({takes}, {second})", of_mask, False, False, mask_name=second, needs_mask=True)
        if len(required) <= inputs:
            yield LossForm(f"{called}({takes})", run, False, True, **masks)


def _forms_of_batch(method: str, required: list[str], inputs: int) -> Iterator[LossForm]:
    """A method of one batch, and perhaps of its index, which is a tuple, a dictionary or a tensor."""
    rest = (0,) if len(required) == 2 and signature.has_word(required[1], INDICES) else ()
    called = f"model.{method}"
    if len(required) > 1 + len(rest):
        return
    if inputs == 2:
        yield LossForm(f"{called}((source, tokens))", partial(_on_batch, method, _tuple, rest), False, False)
        return
    yield LossForm(f"{called}((tokens, labels))", partial(_on_batch, method, _tuple, rest), True, False)
    for text, takes_labels in {"{tokens, labels}": True, "{tokens}": False}.items():
        run = partial(_on_batch, method, Batch, rest)
        yield LossForm(f"{called}({text})", run, takes_labels, False, mask_name="mask")
    run = partial(_on_batch, method, _unlabelled, rest)
    yield LossForm(f"{called}({{tokens, mask}})", run, False, False, mask_name="mask", needs_mask=True)
    yield LossForm(f"{called}(tokens)", partial(_by_method, method, (), ""), False, True)


def _tuple(*arguments: Tensor) -> tuple[Tensor, ...]:
    return arguments


def _unlabelled(tokens: Tensor, mask: Tensor) -> Batch:
    """A batch of which the model makes the labels itself."""
    batch = Batch(tokens, mask=mask)
    del batch["labels"]
    return batch


def _by_keyword(name: str, model: Any, *arguments: Tensor) -> Any:
    return signature.give(model, *arguments[:-1], **{name: arguments[-1]})


def _by_names(names: Sequence[str], model: Any, *arguments: Tensor) -> Any:
    return model(**dict(zip(names, arguments, strict=True)))


def _by_method(
    method: str, names: Sequence[str], mask_name: str, model: Any, *arguments: Tensor, mask: Tensor | None = None
) -> Any:
    """Arguments go by their names where a mask is given too, since it may stand before the labels."""
    function = signature.method(model, method)
    if mask is None:
        return function(*arguments)
    return function(**dict(zip(names, arguments, strict=False)), **{mask_name: mask})


def _on_logits(subject: Subject, method: str, model: Any, *arguments: Tensor) -> Any:
    return signature.method(model, method)(extract_logits(subject.call(model, *arguments[:-1])), arguments[-1])


def _on_batch(
    method: str, make: Callable[..., Any], rest: tuple[int, ...], model: Any, *arguments: Tensor, **masks: Tensor
) -> Any:
    return signature.method(model, method)(make(*arguments, **masks), *rest)
