"""Are the weights right: sensible at the start, all used, all registered, none a copy of another?"""

import math
from collections import Counter

import torch
from torch import Tensor, nn

from clearformer.checks.models.gradients import MIN_EFFECT, list_names
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.attention import record_attention
from clearformer.checks.probe.embeddings import find_vocabulary_matrices
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.probe.tensors import noise_effect, unregistered_weights, unsaved_tensors
from clearformer.checks.probe.training import unreserved_tokens
from clearformer.checks.weights import randomise_weights

MAX_EXCESS = 2.5
"""nats: usual initial weights gave 0.0 to 0.7; an embedding of deviation 1 as the output projection 5.5 at width 16"""
HEAD_TOLERANCE = 1e-4
"""standard deviations of the scores: heads that are copies differ by 0.0, others by more than 1"""


def initial_loss(probe: Probe) -> Outcome:
    """The loss is near ln V at the start.

    Before training all tokens should be about equally likely, which costs ln V nats. If the loss is far above it, the
    initial logits are too large: training first has to shrink them, is slow, or diverges. A T5 in transformers began at
    about 110 nats instead of 11, and an output tied to an embedding of deviation 1 does the same.

    The loss is that of a random token that is not in the sequence, among all such tokens. The others are left out
    because a tied model, such as the Transformer of the paper, initially predicts the token that it reads, which is no
    fault of scale. Up to 2.5 nats above ln V are allowed: normal logits of deviation 2 give 2. Fix it with smaller
    initial weights in the output, 0.02 or 1/sqrt(width), or a norm before it.
    """
    inputs, candidates = _sequence_and_other_tokens(probe)
    logits = probe.logits(inputs).double()
    if candidates is not None and logits.shape[-1] < (probe.subject.vocab_size or 0):
        raise DoesNotApply("the model returns vectors, or logits of some of its tokens alone")
    log_probabilities = logits[..., candidates].log_softmax(-1) if candidates is not None else logits.log_softmax(-1)
    count = log_probabilities.shape[-1]
    excess = float(-log_probabilities.mean()) - math.log(count)
    observed = (
        f"{excess + math.log(count):.3g} nats for a random one of {count} tokens, where ln "
        f"{count} is {math.log(count):.3g}"
    )
    if not excess > MAX_EXCESS:
        return passed(max(excess, 0.0) if math.isfinite(excess) else excess, MAX_EXCESS, observed)
    if _looks_trained(probe.module):
        raise DoesNotApply(
            "the model looks trained, since no vector of its weights is constant: its predictions may be confident"
        )
    deviation = float(logits.std(-1).mean())
    return failed(
        "large-logits",
        excess,
        MAX_EXCESS,
        case=observed,
        diagnosis="Logits are too large at the start: the output projection has large initial values (is it tied to an "
        "embedding of deviation 1?), or its input is not normalised.",
        notes=(f"the standard deviation of the logits at one position is {deviation:.2g}",),
    )


def _sequence_and_other_tokens(probe: Probe) -> tuple[Inputs, Tensor | None]:
    """A sequence, and the tokens that are not in it; None for all, where the model is a classifier or reads vectors."""
    if probe.subject.vocab_size is None or probe.kind == "classifier":
        return probe.inputs(1), None
    tokens = unreserved_tokens(probe)
    T = max(1, min(probe.length(), len(tokens) // 4))  # noqa: N806
    source = tokens[None, T : 2 * T] if probe.kind == "encoder-decoder" else None
    return Inputs(tokens[None, :T], source=source), tokens[2 * T :]


def _looks_trained(model: nn.Module) -> bool:
    """Biases and norms are initialised with equal values, which training makes unequal."""
    vectors = [weight for weight in model.parameters() if weight.dim() == 1 and len(weight) > 1]
    return bool(vectors) and not any(bool((vector == vector[0]).all()) for vector in vectors)


def registered(probe: Probe) -> Outcome:
    """All weights are registered.

    Modules in a plain Python list or dict or in an object that is no module, and tensors that are no nn.Parameter, are
    in no `parameters()`, so no optimizer updates them; they are not in the state_dict, so they are not saved; and
    `.to(device)` does not move them. The model runs all the same, on random weights.

    Noise is added to every tensor that a module holds outside its parameters and buffers. If the output changes, the
    tensor must be a constant, such as a mask or a table of sines. It is taken for a weight if it requires a gradient,
    looks random, or is a vector of equal values. Fix it with nn.ModuleList, nn.ParameterList, nn.Parameter, or
    register_buffer.
    """
    model, sequence = probe.module, probe.inputs(2)
    buffers = dict(model.named_buffers())
    unregistered = {name: tensor for name, tensor in unsaved_tensors(model).items() if name not in buffers}
    used = {name: tensor for name, tensor in unregistered.items() if noise_effect(probe, tensor, sequence) > MIN_EFFECT}
    weights = [name for name in unregistered_weights(model) if name in used]
    notes = tuple(
        f"{name} is a plain tensor that affects the output: apparently a constant, but .to(device) does not move it"
        for name in used
        if name not in weights
    )
    if not weights:
        return passed(0, 0, *notes)
    cause = "plain-tensor"
    if isinstance(used[weights[0]], nn.Parameter):
        cause = "module-in-a-list" if "]." in weights[0] else "parameter-in-a-list"
        cause = cause if "[" in weights[0] else "in-an-object"
    return failed(
        cause,
        len(weights),
        0,
        case=f"{list_names(weights)}: in use, but not among the model's parameters",
        diagnosis=UNREGISTERED[cause] + " No optimizer trains them, and they are not saved.",
        notes=notes,
    )


UNREGISTERED = {
    "module-in-a-list": "Modules are held in a plain list or dict: use nn.ModuleList or nn.ModuleDict.",
    "parameter-in-a-list": "Parameters are held in a plain list or dict: use nn.ParameterList or nn.ParameterDict.",
    "in-an-object": "Parameters are held by an object that is no nn.Module: make its class one.",
    "plain-tensor": "Weights are held as plain tensors: make each an nn.Parameter, or, if it is a constant, use "
    "register_buffer.",
}


def heads(probe: Probe) -> Outcome:
    """No head is a copy of another.

    `[head] * 8` is one head eight times. Heads with equal initial values are copies too: their gradients are equal, and
    they stay equal. The model works, with the capacity of a single head.

    Queries times keys of a random sequence are compared between the heads of each attention, with the model's own
    weights and with random ones. Make the heads in a loop, each with random values of its own.
    """
    sequence = probe.inputs(1)
    own_copies, count = _count_copies(probe, sequence)
    randomise_weights(probe.model, probe.seed)
    random_copies, count = _count_copies(probe, sequence)
    if not count:
        raise DoesNotApply("fewer than two attention heads were recorded")
    if not own_copies and not random_copies:
        return passed(0, 0, f"{count} heads")
    cause = "one-weight" if random_copies else "equal-values"
    diagnosis = (
        "They share their weights: is one module several times in a list?"
        if random_copies
        else "They are different weights with equal initial values, and equal gradients will keep them so."
    )
    return failed(
        cause,
        random_copies or own_copies,
        0,
        case=f"{random_copies or own_copies} of {count} heads are copies",
        diagnosis=diagnosis,
    )


def _count_copies(probe: Probe, sequence: Inputs) -> tuple[int, int]:
    """The number of heads that are copies of another one, and of all heads."""
    multi_head, single_head = [], []
    for attention in record_attention(probe, sequence):
        maps = attention.products.detach().flatten(0, -3).double()
        if len(maps) > 1:
            multi_head.append(maps)
        else:
            single_head.append(maps)
    by_shape: dict[torch.Size, list[Tensor]] = {}
    for head in single_head:  # heads that are separate modules
        by_shape.setdefault(head.shape, []).append(head)
    groups = [*multi_head, *(torch.cat(maps) for maps in by_shape.values() if len(maps) > 1)]
    return sum(_count_repeated(maps) for maps in groups), sum(len(maps) for maps in groups)


def _count_repeated(maps: Tensor) -> int:
    """How many of [H, T, S] are equal to an earlier one; none where all are zero, as some are initially."""
    flat = maps.flatten(1)
    deviation = float(flat.std())
    if not deviation > 0:
        return 0
    differences = (flat[:, None] - flat[None]).abs().amax(-1) / deviation
    return int((differences < HEAD_TOLERANCE).tril(-1).any(1).sum())


def tied(probe: Probe) -> Outcome:
    """Input embedding and output share a matrix if they should, and only then.

    A tie is lost when one side is assigned, loaded, copied or moved to a device after it was made: the model then
    trains two matrices instead of one. Conversely, two matrices that should be separate may be one.

    No two parameters may lie in the same memory. The input embeddings and output projections are found by changing
    single rows, and compared with Subject(tied=...).
    """
    if sharing := _sharing_memory(probe.module):
        return failed(
            "tied-by-data",
            len(sharing),
            0,
            case=f"{list_names(sharing)} share their memory and are several parameters",
            diagnosis="The optimizer updates the same numbers once for each of them, and .to(device) separates them. "
            "That is so after `.data = `: assign the parameter itself.",
        )
    found = find_vocabulary_matrices(probe)
    if not found.inputs or not found.outputs:
        raise DoesNotApply("no input embedding, or no output matrix, was found among the parameters")
    tied_names = found.inputs & found.outputs
    description = (
        f"{list_names(sorted(tied_names))} is both"
        if tied_names
        else f"in: {list_names(sorted(found.inputs))}; out: {list_names(sorted(found.outputs))}"
    )
    if probe.subject.tied is None:
        raise DoesNotApply(f"whether they should be tied is not declared by Subject(tied=...); found: {description}")
    if probe.subject.tied == bool(tied_names):
        return passed(0, 0, description)
    if tied_names:
        diagnosis = "One matrix is used as both, though they are declared separate: is one assigned to the other?"
        return failed("tied-anyway", 1, 0, case=description, diagnosis=diagnosis)
    diagnosis = (
        "There are two matrices, though they are declared tied: assign `output.weight = embedding.weight` after both "
    )
    return failed(
        "tie-lost", 1, 0, case=description, diagnosis=diagnosis + "are made, and after any loading that replaces one."
    )


def _sharing_memory(model: nn.Module) -> list[str]:
    """Names of parameters that are stored in the same place as another one."""
    named = {name: weight for name, weight in model.named_parameters() if weight.numel()}
    places = Counter(weight.data_ptr() for weight in named.values())
    return [name for name, weight in named.items() if places[weight.data_ptr()] > 1]
