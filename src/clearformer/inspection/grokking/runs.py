"""A run that learned arithmetic, through all of its training: the weights that it kept, measured."""

from dataclasses import dataclass

from clearformer.data.corpora import EquationCorpus
from clearformer.inspection.grokking.history import History, Weights, history
from clearformer.inspection.grokking.phases import Phases, phases
from clearformer.models.build import build, load_weights
from clearformer.models.gpt import GPT
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.runs.checkpoint import checkpoint_folders, load_checkpoint
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import trained_weights

MODULI = range(3, 252)
"""measured are models of these: all logits and what is made of them take about 32 p³ bytes, 0.5 GB for p = 251"""


@dataclass(frozen=True)
class Grokking:
    """The trained model of a run, its measures by step, and the phases of its training."""

    model: GPT
    history: History
    phases: Phases


def can_be_measured(run: RunFolder) -> bool:
    """Whether the run learned equations, modulo a number whose logits fit into memory."""
    return run.config.modular is not None and run.config.modular.modulus in MODULI


def grokking(run: RunFolder) -> Grokking:
    """Measure a run that `can_be_measured`, untrained, at each milestone, and trained: about 0.3 seconds for each.

    Raises CheckpointError if the run has no checkpoint, or one is damaged.
    """
    assert run.config.modular is not None
    assert isinstance(run.corpus, EquationCorpus)
    trained = trained_weights(run)
    model = build(run.config.model, run.config.train.seed).eval()
    assert isinstance(model, GPT)
    load_weights(model, trained.tensors["model"])
    checkpoints = kept_weights(run) | {trained.step: trained.tensors["model"]}
    run.notify(f"measuring {len(checkpoints)} checkpoints")
    found = history(model, sorted(checkpoints.items()), run.corpus, run.config.modular.operation)
    measures = found.measures
    curves = [[getattr(each, name) for each in measures] for name in ("loss", "restricted_loss", "held_out_loss")]
    return Grokking(model, found, phases([each.step for each in measures], *curves))


def kept_weights(run: RunFolder) -> dict[int, Weights]:
    """By step: the untrained model, 0, and the milestones."""
    shapes = {"model": parameter_shapes(run.config.model)}
    kept = [load_checkpoint(path, shapes) for path in checkpoint_folders(run.milestones)]
    start = initial_weights(run.config.model, run.config.train.seed)
    return {0: start} | {each.step: each.tensors["model"] for each in kept}
