"""The baseline of the classifiers: tf-idf and logistic regression, tuned on the validation split.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/quality/baseline.py [--data FOLDER]   a folder with polarity/ and ag_news/

One grid for both corpora: unigrams, or unigrams and bigrams; strength of regularisation. Only the best model is
evaluated on the test split. Results go to `results/`.
"""

import argparse
import itertools
from pathlib import Path

from common import show, write
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from clearformer.data.corpora import Example, LabelledCorpus
from clearformer.data.load import load_corpus

NGRAMS = (1, 2)
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with the corpora; by default they are downloaded")
    options = parser.parse_args()
    results = {}
    for name in ("polarity", "ag_news"):
        corpus = load_corpus(name, (str(options.data / name),) if options.data else ())
        assert isinstance(corpus, LabelledCorpus)
        models = {(n, c): fit(corpus.train, n, c) for n, c in itertools.product(NGRAMS, STRENGTHS)}
        scores = {choice: accuracy(model, corpus.validation) for choice, model in models.items()}
        best = max(scores, key=lambda choice: scores[choice])
        results[name] = {
            "n-grams up to": best[0],
            "C": best[1],
            "validation": scores[best],
            "test": accuracy(models[best], corpus.test),
        }
        show(name, results[name])
    write("baseline", results)


def fit(examples: list[Example], max_n: int, strength: float) -> Pipeline:
    features = TfidfVectorizer(ngram_range=(1, max_n), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    return make_pipeline(features, LogisticRegression(C=strength, max_iter=1000)).fit(*columns(examples))


def accuracy(model: Pipeline, examples: list[Example]) -> float:
    return round(float(model.score(*columns(examples))), 4)


def columns(examples: list[Example]) -> tuple[list[str], list[str]]:
    """The texts and their labels."""
    return [" ".join(texts) for texts, _ in examples], [label for _, label in examples]


if __name__ == "__main__":
    main()
