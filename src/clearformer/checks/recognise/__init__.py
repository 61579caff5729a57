"""Recognise a model: which kind it is, how to call it, step it, pad it and train it, and how large its inputs may be.

Libraries are recognised by what their models look like; nothing of theirs is imported.
"""

from typing import Any

from torch import nn

from clearformer.checks.load.errors import describe_error
from clearformer.checks.recognise import (
    clearformer_models,
    encoder_decoder,
    hugging_face,
    plain,
    torch_nn,
    x_transformers,
)
from clearformer.checks.recognise.introspection import name_of, on_loan
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
"""the first that knows the model; `plain` takes all that is left, or says why it cannot"""


def recognise(model: Any, *, kind: Kind | None = None) -> Subject:
    """The model and how to use it. A Subject is returned as it is; `kind` overrules what the model looks like.

    The model is tried on a few inputs; its weights, mode and random states are as before afterwards.
    Raises CheckError for what cannot be found out, with the line to write.
    """
    if isinstance(model, Subject):
        return model
    if isinstance(model, nn.Module) and any(tensor.device.type != "cpu" for tensor in model.parameters()):
        raise CheckError("a model on the CPU was expected, found one on another device; return model.cpu()")
    try:
        with on_loan(model):
            subjects = (recognise(model, kind) for recognise in RECOGNISERS)
            return next(subject for subject in subjects if subject is not None)
    except ClearformerError:
        raise
    except Exception as error:
        raise CheckError(
            f"{name_of(model)} was tried, to find out how it is called, and raised {describe_error(error)}; mend that, "
            "or say how it is called: return Subject(model, call=lambda model, tokens: ..., vocab_size=...)"
        ) from error
