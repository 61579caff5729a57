import numpy as np
import pytest

from clearformer.engines.numpy import functional
from clearformer.engines.numpy.modes import GradientError, debug, no_grad
from clearformer.engines.numpy.tensor import Tensor


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


@pytest.mark.parametrize("change", ["copy_", "add_", "mul_"])
def test_changing_in_place_what_backward_needs_is_noticed(change):
    x = leaf(1.0, 2.0)
    loss = (x * x).sum()
    with no_grad():
        getattr(x, change)(3.0)
    with pytest.raises(GradientError, match="'multiply' was computed with were expected, found some that were changed"):
        loss.backward()


def test_changing_a_view_is_noticed_too_and_changing_what_nobody_needs_is_not():
    x = leaf(1.0, 2.0)
    with no_grad():
        view = x.reshape(2, 1)
    loss = functional.exp(x * x).sum()
    view.add_(1.0)
    with pytest.raises(GradientError, match="'multiply'"):
        loss.backward()
    loss = (x + 1.0).sum()
    view.add_(1.0)
    loss.backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_in_place_methods_change_the_array_itself():
    x = Tensor(np.array([1.0, 2.0], np.float32))
    array = x.data
    x.add_(1.0)
    x.mul_(np.array([2.0, 3.0]))
    assert (x.data is array, array.tolist()) == (True, [4.0, 9.0])
    x.copy_([7.0, 8.0])
    assert (array.tolist(), array.dtype) == ([7.0, 8.0], np.float32)


def test_in_place_changes_of_what_is_being_recorded_are_refused():
    with pytest.raises(GradientError, match="a change in place has no gradient"):
        leaf(1.0).add_(1.0)


def test_debugging_finds_changes_made_behind_the_back():
    x = leaf(1.0, 2.0)
    with debug():
        loss = (x * x).sum()
        x.data[0] = 5.0
        with pytest.raises(GradientError, match="'multiply' was computed with"):
            loss.backward()


def test_debugging_names_the_operation_that_first_made_a_nan_or_infinity():
    x = leaf(0.0, 1.0)
    with debug():
        with pytest.raises(GradientError, match="found a NaN or an infinity in the result of 'log'"):
            functional.exp(functional.log(x) * 2.0)
        loss = (functional.sqrt(x) * 2.0).sum()
        with pytest.raises(GradientError, match="found a NaN or an infinity in a gradient from 'sqrt'"):
            loss.backward()
        with pytest.raises(GradientError, match="found a NaN or an infinity in an input of 'exp'"):
            functional.exp(Tensor([np.nan]))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Tensor([1, 2]), "a Tensor of float32 or float64 was expected, found int64"),
        (lambda: leaf(1.0, 2.0).backward(), r"a loss of one number was expected, found shape \(2,\)"),
        (lambda: leaf(1.0).backward(np.ones(3)), r"a gradient of shape \(1,\) was expected, found \(3,\)"),
        (lambda: setattr(Tensor([1.0]), "grad", None), "a tensor with requires_grad was expected"),
    ],
)
def test_misuse_is_refused_in_words(act, words):
    with pytest.raises(GradientError, match=words):
        act()


def test_an_array_where_a_tensor_belongs_is_refused_in_words(unchecked):
    code = """
import numpy as np
from clearformer.engines.numpy.tensor import Tensor
for product in (lambda: Tensor([1.0]) * np.ones(1), lambda: np.ones(1) * Tensor([1.0])):
    try:
        product()
    except Exception as error:
        print(type(error).__name__, error)
"""
    words = "GradientError a Tensor or a number was expected, found an array of shape (1,); wrap it in Tensor\n"
    assert unchecked(code) == 2 * words


def test_numbers_of_numpy_do_not_widen_float32():
    x = Tensor(np.ones(2, np.float32))
    assert (x * np.float64(2.0) / np.sqrt(np.float64(8))).dtype == np.float32
