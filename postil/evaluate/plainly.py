"""What plain means would do on a task with labels: whoever is as well served by them needs no language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from postil.records import Answer, Example

SMALLEST, LONGEST = 1, 3  # characters of a piece: a Chinese word is one to three
MAX_ITERATIONS = 1000


def by_words(training: Sequence[Example], asked: Sequence[Example]) -> dict[str, list[Answer]]:
    """TF-IDF of character n-grams and logistic regression, taught the same training examples; {} without two labels."""
    labels = [example.answer.strip() for example in training]
    if len(set(labels)) < 2 or not asked:
        return {}
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pieces = TfidfVectorizer(analyzer="char", ngram_range=(SMALLEST, LONGEST), sublinear_tf=True)
    model = make_pipeline(pieces, LogisticRegression(C=10.0, max_iter=MAX_ITERATIONS))
    model.fit([_text(example) for example in training], labels)
    return {"tfidf": [Answer(str(label), 1, True) for label in model.predict([_text(example) for example in asked])]}


def most_frequent(training: Sequence[Example], asked: Sequence[Example]) -> dict[str, list[Answer]]:
    """The most frequent label of the training examples, whatever is asked; {} without any."""
    counts = Counter(example.answer.strip() for example in training)
    if not counts:
        return {}
    label = min(counts, key=lambda name: (-counts[name], name))
    return {"majority": [Answer(label, 1, True)] * len(asked)}


def _text(example: Example) -> str:
    return "\n".join(message.content for message in example.question if message.role == "user")
