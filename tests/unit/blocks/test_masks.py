import pytest
import torch

from clearformer.blocks.masks import causal_mask, draw, join_masks, padding_mask, position_mask, window_mask


@pytest.mark.parametrize(
    ("T", "S", "expected"),
    [
        (1, 1, "#"),
        (2, 2, "#.\n##"),
        (3, 3, "#..\n##.\n###"),
        (1, 4, "####"),  # one new token attends to the whole past and itself
        (2, 4, "###.\n####"),
    ],
)
def test_a_causal_mask_allows_each_query_itself_and_earlier_keys(T: int, S: int, expected: str):  # noqa: N803
    assert draw(causal_mask(T, S)) == expected


def test_a_padding_mask_hides_padding_from_all_heads_and_queries():
    mask = padding_mask(torch.tensor([[True, True, False], [True, False, False]]))
    assert mask.shape == (2, 1, 1, 3)
    assert mask.expand(2, 4, 5, 3)[:, 3, 4].tolist() == [[True, True, False], [True, False, False]]


def test_a_query_at_position_p_attends_to_keys_0_to_p():
    first, second = position_mask(torch.tensor([[0, 1], [2, 3]]), 5).split(1)
    assert draw(first) == "#....\n##..."
    assert draw(second) == "###..\n####."


def test_position_and_causal_masks_of_the_last_positions_agree():
    assert torch.equal(position_mask(torch.tensor([[3, 4, 5]]), 6), causal_mask(3, 6))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, "#...\n.#..\n..#.\n...#"),
        (2, "##..\n###.\n.###\n..##"),
        (3, "###.\n####\n####\n.###"),
        (4, "####\n####\n####\n####"),
    ],
)
def test_a_window_allows_keys_less_than_its_width_away(width: int, expected: str):
    assert draw(window_mask(torch.arange(4), 4, width)) == expected


def test_a_causal_window_of_two_allows_a_token_and_the_one_before_it():
    assert draw(window_mask(torch.arange(4), 4, 2) & causal_mask(4, 4)) == "#...\n##..\n.##.\n..##"


def test_a_window_follows_the_positions_of_each_row():
    first, second = window_mask(torch.tensor([[3, 4], [1, 2]]), 5, 2).split(1)
    assert draw(first) == "..###\n...##"
    assert draw(second) == "###..\n.###."


def test_joined_masks_allow_the_keys_that_all_of_them_allow():
    real = padding_mask(torch.tensor([[True, False, True]]))
    assert draw(join_masks(None, causal_mask(3, 3), real, None)) == "#..\n#..\n#.#"
    assert join_masks(None, real) is real
    assert join_masks(None, None) is None
