"""What the page and PyTorch read in the tests, and how close their numbers must be."""

TOLERANCE = 1e-4
"""of the spread of the numbers; sums of float32 in another order make about 1e-6"""
TEXT = {
    "gpt": "the quick brown fox, naïve 東京",
    "bert": "the quick <mask> fox jumps over zebras",
    "classifier": "the quick brown dog\tjumps",
    "transformer": "March 24, 2027",
}
"""of each family"""
TARGET = "2027-03"
"""what the decoder of a translator reads"""
