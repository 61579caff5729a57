"""Are the weights what they should be: sensible at the start, all in use, all known to the model, each its own?"""

import math

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.attention import record_attention
from clearformer.checks.probe.embeddings import find_vocabulary_matrices
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.probe.tensors import unregistered_weights, noise_effect, unsaved_tensors
from clearformer.checks.probe.training import unreserved_tokens, random_objective
from clearformer.checks.weights import randomise_weights

ABOVE_UNIFORM = 2.5
"""nats: usual initial weights gave 0.0 to 0.7; an embedding of deviation 1 as the output's matrix 5.5 at width 16"""
INFLUENCE = 1e-4
"""a share of the logits' spread: a tensor that does nothing moves them by 0.0"""
ALIKE = 1e-4
"""a share of the scores' spread: heads that are copies differ by 0.0, others by more than 1"""
TRIES = 4
"""batches in which a parameter may get its gradient: an expert is not chosen by every text"""


def initial_loss(probe: Probe) -> Outcome:
    """The loss is near ln V at the start.

    Before training all tokens should be about equally likely, which costs ln V nats. If the loss is far above it, the
    initial logits are too large: training first has to unlearn them, is slow, or diverges. A T5 in transformers began
    at about 110 nats in place of 11, and an output tied to an embedding of deviation 1 does the same.

    The loss is that of a random token that does not stand in the text, among all such tokens. The others are left out
    since a tied model, as the Transformer of the paper, predicts at first the token that it reads, which is no fault
    of scale. Up to 2.5 nats above ln V are allowed: normal logits of deviation 2 give 2. Mend it with smaller initial
    weights in the output, 0.02 or 1/sqrt(width), or a norm before it.
    """
    inputs, asked = _text_and_others(probe)
    logits = probe.logits(inputs).double()
    shares = logits[..., asked].log_softmax(-1) if asked is not None else logits.log_softmax(-1)
    count = shares.shape[-1]
    above = float(-shares.mean()) - math.log(count)
    seen = f"{above + math.log(count):.3g} nats on a random one of {count}, where ln {count} is {math.log(count):.3g}"
    if not above > ABOVE_UNIFORM:
        return passed(max(above, 0.0) if math.isfinite(above) else above, ABOVE_UNIFORM, seen)
    if _is_trained(probe.module):
        raise DoesNotApply(
            "the model looks trained, since no vector of its weights is constant: it may be sure of itself"
        )
    spread = float(logits.std(-1).mean())
    return failed(
        "large-logits",
        above,
        ABOVE_UNIFORM,
        case=seen,
        diagnosis="Logits are too large at the start: the output's matrix has large initial values (is it tied to an "
        "embedding of deviation 1?), or what it is multiplied by is not normalised.",
        seen=(f"logits of one place deviate by {spread:.2g}",),
    )


def _text_and_others(probe: Probe) -> tuple[Inputs, Tensor | None]:
    """A text, and the tokens that are not in it; None where all are asked, as of a classifier or of vectors."""
    if probe.subject.vocab_size is None or probe.kind == "classifier":
        return probe.inputs(1), None
    tokens = unreserved_tokens(probe)
    T = max(1, min(probe.length(), len(tokens) // 4))  # noqa: N806
    source = tokens[None, T : 2 * T] if probe.kind == "encoder-decoder" else None
    return Inputs(tokens[None, :T], source=source), tokens[2 * T :]


def _is_trained(model: nn.Module) -> bool:
    """Biases and norms begin with equal values, and training moves them apart."""
    vectors = [weight for weight in model.parameters() if weight.dim() == 1 and len(weight) > 1]
    return bool(vectors) and not any(bool((vector == vector[0]).all()) for vector in vectors)


def gradients(probe: Probe) -> Outcome:
    """Every parameter gets a gradient.

    A parameter without one never changes. It was forgotten in `forward`, or something cuts the gradient on its way:
    `detach()`, `.data`, `.item()`, a new tensor made from values, an argmax, `torch.no_grad()`.

    In training mode the logits get random weights, and their sum is differentiated; each parameter must have somewhere
    a gradient that is not zero, in one of four batches. Frozen parameters are named and excepted, and those in
    Subject(learned_elsewhere=...).
    """
    module = probe.module.train()
    named = dict(module.named_parameters())
    missing = {n: w for n, w in named.items() if w.requires_grad and n not in probe.subject.learned_elsewhere}
    frozen = [name for name, weight in named.items() if not weight.requires_grad]
    if not missing:
        raise DoesNotApply("the model has no parameter that asks for a gradient")
    total = len(missing)
    for _ in range(TRIES):
        with torch.enable_grad():
            out = random_objective(probe, probe.inputs(4))
            if not out.requires_grad:
                diagnosis = (
                    "The output is cut off from all weights: look for torch.no_grad(), detach(), or NumPy in `forward`."
                )
                return failed("detached", total, 0, case="the logits have no gradient at all", diagnosis=diagnosis)
            found = torch.autograd.grad(out, list(missing.values()), allow_unused=True)
        bad = [n for n, g in zip(missing, found, strict=True) if g is not None and not g.isfinite().all()]
        if bad:
            diagnosis = "Gradients are NaN or infinite though the logits are not: a softmax over nothing, sqrt or log at 0."
            return failed("not-finite", len(bad), 0, case=f"among others the gradient of {bad[0]}", diagnosis=diagnosis)
        missing = {n: named[n] for n, g in zip(missing, found, strict=True) if g is None or not g.any()}
        if not missing:
            return passed(0, 0, *([f"frozen: {_listed(frozen)}"] if frozen else []))
    module.eval()
    text = probe.inputs(2)
    cut = [name for name, weight in missing.items() if noise_effect(probe, weight, text) > INFLUENCE]
    cause, names = ("cut-off", cut) if cut else ("unused", list(missing))
    diagnosis = (
        "They move the output but get no gradient: look for detach(), .data, .item(), torch.tensor(...), argmax or "
        "no_grad() between them and the output."
        if cut
        else "They do not move the output either: `forward` does not use them. Remove them, use them, or list them in "
        "Subject(learned_elsewhere=...)."
    )
    case = f"{len(missing)} of {total} parameters without a gradient: {_listed(names)}"
    return failed(cause, len(missing), 0, case=case, diagnosis=diagnosis)


def registered(probe: Probe) -> Outcome:
    """All weights are known to the model.

    Modules in a plain Python list or dict, and tensors that are no nn.Parameter, are in no `parameters()`, so no
    optimizer moves them; they are not in the state_dict, so they are not saved; and they do not follow `.to(device)`.
    The model runs all the same, on random weights.

    Every tensor that a module holds outside its parameters and buffers gets noise. If the output moves, it matters;
    then it must be a constant, such as a mask or a table of sines. It is a weight if it wants a gradient, looks random,
    or is a vector of equal values. Mend it with nn.ModuleList, nn.ParameterList, nn.Parameter, or register_buffer.
    """
    model, text = probe.module, probe.inputs(2)
    buffers = dict(model.named_buffers())
    known = {name: tensor for name, tensor in unsaved_tensors(model).items() if name not in buffers}
    used = {name: tensor for name, tensor in known.items() if noise_effect(probe, tensor, text) > INFLUENCE}
    hidden = [name for name in unregistered_weights(model) if name in used]
    notes = tuple(
        f"{name} is a plain tensor and moves the output: a constant it seems, but it is not moved by .to(device)"
        for name in used
        if name not in hidden
    )
    if not hidden:
        return passed(0, 0, *notes)
    cause = "plain-tensor"
    if isinstance(used[hidden[0]], nn.Parameter):
        cause = "module-in-a-list" if "]." in hidden[0] else "parameter-in-a-list"
    return failed(
        cause,
        len(hidden),
        0,
        case=f"{_listed(hidden)}: in use, but not among the model's parameters",
        diagnosis=UNREGISTERED[cause] + " No optimizer trains them, and they are not saved.",
        seen=notes,
    )


UNREGISTERED = {
    "module-in-a-list": "Modules are held in a plain list or dict: use nn.ModuleList or nn.ModuleDict.",
    "parameter-in-a-list": "Parameters are held in a plain list or dict: use nn.ParameterList or nn.ParameterDict.",
    "plain-tensor": "Weights are held as plain tensors: make each an nn.Parameter, or, if it is to stay as it is, "
    "register_buffer.",
}


def heads(probe: Probe) -> Outcome:
    """No head is a copy of another.

    `[head] * 8` is one head eight times. So are heads that begin with the same values: their gradients are the same
    too, and they never part. The model works, with the power of a single head.

    Queries times keys of one random text are compared between the heads of each attention, as the model makes them,
    on the weights given and on random ones. Make the heads in a loop, each with random values of its own.
    """
    text = probe.inputs(1)
    given, count = _copies(probe, text)
    randomise_weights(probe.model, probe.seed)
    shared, count = _copies(probe, text)
    if not count:
        raise DoesNotApply("no two heads of attention were seen")
    if not given and not shared:
        return passed(0, 0, f"{count} heads")
    cause = "one-weight" if shared else "equal-values"
    diagnosis = (
        "They share their weights, whatever these are: is one module put into a list several times?"
        if shared
        else "They are different weights with equal initial values, and equal gradients will keep them so."
    )
    return failed(cause, shared or given, 0, case=f"{shared or given} of {count} heads are copies", diagnosis=diagnosis)


def _copies(probe: Probe, text: Inputs) -> tuple[int, int]:
    """How many heads repeat another one, and how many there are."""
    several, single = [], []
    for attention in record_attention(probe, text):
        maps = attention.products.detach().flatten(0, -3).double()
        if len(maps) > 1:
            several.append(maps)
        else:
            single.append(maps)
    alone: dict[torch.Size, list[Tensor]] = {}
    for one in single:  # heads that are modules of their own
        alone.setdefault(one.shape, []).append(one)
    groups = [*several, *(torch.cat(maps) for maps in alone.values() if len(maps) > 1)]
    return sum(_repeats(maps) for maps in groups), sum(len(maps) for maps in groups)


def _repeats(maps: Tensor) -> int:
    """How many of [H, T, S] are equal to an earlier one. All of them zero, as some begin, tells nothing."""
    flat = maps.flatten(1)
    spread = float(flat.std())
    if not spread > 0:
        return 0
    apart = (flat[:, None] - flat[None]).abs().amax(-1) / spread
    return int((apart < ALIKE).tril(-1).any(1).sum())


def tied(probe: Probe) -> Outcome:
    """Input embedding and output share a matrix if they should, and only then.

    A tie is lost when one side is assigned anew, loaded, copied or moved to a device after it was made: the model then
    trains two matrices in place of one. The other way, two matrices that were meant to be separate move together.

    Which matrices tokens are looked up in, and which make logits, is found by moving single rows, and compared with
    Subject(tied=...).
    """
    found = find_vocabulary_matrices(probe)
    if not found.inputs or not found.outputs:
        raise DoesNotApply("no input embedding, or no output matrix, was found among the parameters")
    one = found.inputs & found.outputs
    say = (
        f"{_listed(sorted(one))} is both"
        if one
        else f"in: {_listed(sorted(found.inputs))}; out: {_listed(sorted(found.outputs))}"
    )
    if probe.subject.tied is None:
        raise DoesNotApply(f"whether they should be tied is not declared by Subject(tied=...); found: {say}")
    named = dict(probe.module.named_parameters())
    over_one_memory = len(one) > len({named[name].data_ptr() for name in one})
    if probe.subject.tied and over_one_memory:
        diagnosis = "Two parameters lie over one memory, as `.data = ` leaves them: .to(device) will part them. Assign the "
        return failed("tied-by-data", 1, 0, case=say, diagnosis=diagnosis + "parameter itself.")
    if probe.subject.tied == bool(one):
        return passed(0, 0, say)
    if one:
        diagnosis = "One matrix serves as both, though they are declared separate: is one assigned to the other?"
        return failed("tied-anyway", 1, 0, case=say, diagnosis=diagnosis)
    diagnosis = (
        "There are two matrices, though they are declared tied: assign `output.weight = embedding.weight` after both "
    )
    return failed("tie-lost", 1, 0, case=say, diagnosis=diagnosis + "are made, and after any loading that replaces one.")


def _listed(names: list[str]) -> str:
    """The first of them by name, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
