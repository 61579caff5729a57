"""Stage 2, recognise: which kind a model is, how it is called, stepped, padded and trained, and its input size.

Libraries are recognised by the interface of their models; nothing of theirs is imported.
"""

from typing import Any

import torch
from torch import nn

from clearformer.checks.load.errors import describe_error
from clearformer.checks.recognise import (
    clearformer_models,
    encoder_decoder,
    hugging_face,
    plain,
    torch_nn,
    ways,
    x_transformers,
)
from clearformer.checks.recognise.given import Given
from clearformer.checks.recognise.signature import name_of
from clearformer.checks.recognise.trial import trial_mode
from clearformer.checks.subject import Kind, Subject
from clearformer.errors import CheckError, ClearformerError

RECOGNISERS = (
    clearformer_models.recognise,
    x_transformers.recognise,
    torch_nn.recognise,
    hugging_face.recognise,
    encoder_decoder.recognise,
    plain.recognise,
)
"""tried in this order; each returns None for a model it does not know, and `plain` takes whatever is left"""


def recognise(model: Any, *, kind: Kind | None = None, given: Given | None = None) -> Subject:
    """Return the model as a Subject; a Subject is returned unchanged, but for what is `given`.

    `kind` overrides what the model looks like, and `given` what is found out about it. The model is called on a few
    inputs; its weights, mode and random states are restored.
    Raises CheckError for a model that cannot be recognised, with the line to write.
    """
    given = given or Given()
    if isinstance(model, Subject):
        with trial_mode(model.model):
            return given.methods(given.sizes(model))
    if isinstance(model, nn.Module) and any(tensor.device.type != "cpu" for tensor in model.parameters()):
        raise CheckError("a model on the CPU was expected, found one on another device; return model.cpu()")
    if isinstance(model, torch.jit.ScriptModule):
        raise CheckError(
            "a module of Python was expected, found one compiled by torch.jit, inside which nothing can be observed; "
            "return the module as it is before torch.jit.script or torch.jit.trace"
        )
    try:
        with trial_mode(model):
            subjects = (recognise_library(model, kind) for recognise_library in RECOGNISERS)
            subject = next(subject for subject in subjects if subject is not None)
            return given.methods(ways.complete(given.sizes(subject)))
    except ClearformerError:
        raise
    except Exception as error:
        raise CheckError(
            f"{name_of(model)} was tried, to find out how it is called, and raised {describe_error(error)}; fix that, "
            "or say how it is called: return Subject(model, call=lambda model, tokens: ..., vocab_size=...)"
        ) from error
