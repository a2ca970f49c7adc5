"""Scores of labels and marks, held against the libraries that define them, and the plain means beside them."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from postil.evaluate.answers import evaluate
from postil.evaluate.plainly import by_words, most_frequent
from postil.evaluate.tasks import entity_f1, entity_f1_rows, macro_f1, of_entities, of_labels, of_task
from postil.model.entities import Entity, write_entities
from postil.model.pairs import Margin
from postil.records import Answer, Confusion, Evaluation, Example, Message, Verdict

labels = st.sampled_from(["好评", "差评", "neutral", "x"])
marks = st.lists(
    st.builds(Entity, st.integers(0, 4), st.integers(5, 9), st.sampled_from(["a", "b"]), st.just("t")), max_size=4
)


def said(*texts: str) -> list[Answer]:
    return [Answer(text, 1, True) for text in texts]


@settings(deadline=None, max_examples=40)  # the first call loads scikit-learn
@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=30))
def test_macro_f1_and_confusion_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import confusion_matrix, f1_score

    wanted, given_ = [a for a, _ in pairs], [b for _, b in pairs]
    theirs = f1_score(wanted, given_, labels=sorted(set(wanted)), average="macro", zero_division=0)
    assert abs(macro_f1(wanted, said(*given_))["macro_f1"] - theirs) < 1e-9
    table = of_labels(wanted, said(*given_))
    assert [list(row) for row in table.counts] == confusion_matrix(wanted, given_, labels=list(table.labels)).tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(marks, marks), min_size=1, max_size=8))
def test_entity_f1_counts_places_with_their_types(rows: list[tuple[list[Entity], list[Entity]]]) -> None:
    wanted = [write_entities(a) for a, _ in rows]
    given_ = said(*(write_entities(b) for _, b in rows))
    sets = [({(e.start, e.end, e.type) for e in a}, {(e.start, e.end, e.type) for e in b}) for a, b in rows]
    right, of = sum(len(a & b) for a, b in sets), sum(len(a) + len(b) for a, b in sets)
    assert entity_f1(wanted, given_)["entity_f1"] == (2 * right / of if of else 1.0)
    each = entity_f1_rows(wanted, given_)["entity_f1"]
    assert all((score == 1.0) == (a == b) for score, (a, b) in zip(each, sets, strict=True))


def test_a_wrong_type_and_a_miss_stand_in_the_table() -> None:
    wanted = write_entities([Entity(0, 2, "a", "xx"), Entity(3, 4, "b", "y")])
    given_ = write_entities([Entity(0, 2, "b", "xx"), Entity(5, 6, "a", "z")])
    table = of_entities([wanted], said(given_))
    assert table == Confusion(("-", "a", "b"), ((0, 1, 0), (0, 0, 1), (1, 0, 0)))
    assert entity_f1_rows(["[]", "[]"], said("[]", "no list"))["entity_f1"] == [1.0, 1.0]


def test_many_labels_are_counted_together_at_the_end() -> None:
    names = [f"{i:02}" for i in range(40)]
    table = of_labels(names, said(*names))
    assert len(table.labels) == 31 and table.counts[-1][-1] == 10 and sum(map(sum, table.counts)) == 40


def examples(count: int) -> list[Example]:
    said_ = {"退": "退款吧 {}", "查": "快递到哪了 {}", "送": "where is it {}"}
    return [
        Example((Message("user", text.format(i)), Message("assistant", label)), (i,))
        for i in range(count)
        for label, text in said_.items()
    ]


def test_plain_means_learn_from_the_training_part_alone() -> None:
    training, asked = examples(8), examples(3)
    assert [one.text for one in by_words(training, asked)["tfidf"]] == [one.answer for one in asked]
    assert {one.text for one in most_frequent([*training, asked[0]], asked)["majority"]} == {"退"}
    assert by_words([], asked) == {} == most_frequent([], asked) and by_words(training[:1], asked) == {}
    assert of_task("causal_lm").others(training, asked) == {}


def test_it_is_said_when_a_plain_classifier_would_do() -> None:
    def words(outcome: str, lang: str) -> str:
        verdict = Verdict(outcome, "exact_match", 0.0, (-0.1, 0.1), 40)  # type: ignore[arg-type]
        scores = {"exact_match": 0.9}
        made = Evaluation(scores, scores, verdict, None, (), {"tfidf": scores}, {"tfidf": verdict})
        return made.against_words(lang)[0]

    ahead = Verdict("no_difference", "exact_match", 0.16, (-0.01, 0.3), 32)
    made = Evaluation({}, {"exact_match": 0.84}, ahead, None, (), {"tfidf": {"exact_match": 0.69}}, {"tfidf": ahead})
    assert "too few to be sure" in made.against_words("en")[0]
    assert "may not need" in words("no_difference", "en") and "不用大模型也行" in words("no_difference", "zh")
    assert "Do not use" in words("worse", "en") and "90.0%" in words("better", "en")
    assert "普通分类器" in words("too_few", "zh")


ROWS = tuple(Example((Message("user", f"q{i}"), Message("assistant", "good")), (i,), rejected="bad") for i in range(24))


class Compared:
    """A pair that has learned to prefer the wanted answer in three of four rows."""

    def asks(self, example):
        return example

    def tried(self, examples, *, tuned, tell=lambda done: None):
        answers = [Answer("good" if tuned else "bad", 1, stopped=True) for _ in examples]
        return answers, [0.5 if tuned else 1.0 for _ in examples]

    def losses_of_texts(self, texts, *, tuned):
        return None

    def margins(self, examples, *, tuned):
        # by sums, the longer answer always loses
        return [Margin(-1.0, 0.5) if tuned and example.rows[0] % 4 else Margin(-3.0, -0.5) for example in examples]

    def rewards(self, examples):
        both = (self.margins(examples, tuned=tuned) for tuned in (True, False))
        return [0.1 * (after.summed - before.summed) for after, before in zip(*both, strict=True)]


def test_preferences_decide_by_the_likelier_answer_of_each_row():
    found = evaluate(Compared(), ROWS, "preferred", "dpo")
    assert found.base["preferred"] == 0.0 and found.tuned["preferred"] == 0.75
    assert found.base["reward_margin"] == 0.0 and math.isclose(found.tuned["reward_margin"], 0.15)
    assert found.verdict.outcome == "better" and found.verdict.n == 24 and found.forgetting is None
    assert found.rows[0]["rejected"] == "bad" and found.rows[1]["tuned_score"] == 1.0


def test_texts_have_a_perplexity():
    found = evaluate(Compared(), ROWS, "loss", "pretraining")
    assert math.isclose(found.base["perplexity"], math.e) and found.verdict.outcome == "better"
    assert "preferred" not in found.base and not of_task("pretraining").ends and of_task("dpo").ends
