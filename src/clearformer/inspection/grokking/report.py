"""The part of a run's report on grokking: curves with their phases, what the model calculates with, and the circuit."""

from clearformer.inspection.grokking import figures
from clearformer.inspection.grokking.activations import attention, number_logits, number_rows
from clearformer.inspection.grokking.circuit import Circuit, circuit
from clearformer.inspection.grokking.cycles import CYCLIC, cycle
from clearformer.inspection.grokking.fourier import spectrum
from clearformer.inspection.grokking.phases import THRESHOLD
from clearformer.inspection.grokking.runs import Grokking, grokking
from clearformer.inspection.page import figure, paragraph, plan
from clearformer.runs.folder import RunFolder

CURVES = (
    "Losses, accuracies and measures over the steps, on a logarithmic axis. The restricted loss is that of the key "
    "frequencies alone, the excluded loss that of the training equations without them. Memorisation ends when the "
    f"training loss is below {THRESHOLD:g}, the formation of the circuit when the restricted loss is, cleanup when the "
    "held-out loss is."
)
ATTENTION = "How much the equals sign looks at a and at b, for every a (down) and b (across), in each head."
CIRCLES = (
    "The numbers as the embedding holds them on the plane of each key frequency, coloured by their place. Adding two "
    "of them is turning by both angles."
)
SPECTRA = "The share of each frequency in the embedding and in the output matrix; key frequencies are coloured."


def sections(run: RunFolder) -> dict[str, str]:
    """Heading -> HTML, of a run that `can_be_measured` and has a checkpoint."""
    assert run.config.modular is not None
    found = grokking(run)
    parts = {"Grokking": figure(figures.curves(found.history.measures, found.phases), CURVES)}
    if run.config.modular.operation in CYCLIC:
        parts["What it calculates with"] = _circle(run, found)
    parts["What the equals sign looks at"] = figure(figures.attention_maps(attention(found.model)), ATTENTION)
    return parts


def _circle(run: RunFolder, found: Grokking) -> str:
    assert run.config.modular is not None
    around = cycle(run.config.modular.operation, run.config.modular.modulus)
    keys = found.history.frequencies
    embedding, unembedding = (
        number_rows(weight)[around.first]
        for weight in (found.model.embedding.weight, found.model.output_projection.weight)
    )
    powers = {"embedding": spectrum(embedding), "output matrix": spectrum(unembedding)}
    return (
        circuit_facts(circuit(around.logits(number_logits(found.model)), keys))
        + figure(figures.circles(embedding, keys, around.first.tolist()), CIRCLES)
        + figure(figures.spectrum_bars(powers, keys), SPECTRA)
    )


def circuit_facts(found: Circuit) -> str:
    """How good the model is, its circuit alone, and what is left without the key frequencies."""
    keys = ", ".join(map(str, found.frequencies))
    words = (
        f"Key frequencies: {keys}. A sum of one cosine of each, cos(w(a + b - c)) with an amplitude, has "
        f"{found.explained:.1%} of the variance of the model's logits. Of all equations are right:"
    )
    outcomes = {
        "the model": found.model,
        "the sum of cosines alone": found.rebuilt,
        "the model without the key frequencies": found.excluded,
    }
    told = {name: f"{each.accuracy:.1%}, loss {each.loss:.2g}" for name, each in outcomes.items()}
    return paragraph(words) + plan(told)
