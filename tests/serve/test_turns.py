"""Who may wait, and whose turn it is."""

from __future__ import annotations

import pytest

from postil.errors import EngineError
from postil.records import Message
from postil.serve.engine import Piece, Reply, Request
from postil.serve.turns import Asked, Turns


class Deaf:
    def piece(self, piece: Piece) -> None: ...
    def reply(self, reply: Reply) -> None: ...
    def error(self, error: Exception) -> None: ...


def ask(turns: Turns, name: str = "a1", tokens: int = 5, most: int | None = None) -> Asked:
    request = Request((Message("user", name),), project=name[0], max_tokens=most)
    return turns.ask(request, Deaf(), lambda request: [7] * tokens)


def names(turns: Turns) -> list[str]:
    return [turns.take().request.messages[0].content for _ in range(len(turns))]


def test_nobody_waits_without_a_place() -> None:
    turns = Turns(2, 10)
    ask(turns, "a1"), ask(turns, "b1")
    with pytest.raises(EngineError) as full:
        turns.ask(Request((Message("user", "c1"),)), Deaf(), lambda request: pytest.fail("its tokens were counted"))
    assert full.value.code == "engine_full" and full.value.values["waiting"] == 2
    turns.take()
    ask(turns, "c1")
    assert names(turns) == ["b1", "c1"]


@pytest.mark.parametrize("tokens", [0, 10, 11])
def test_a_question_that_leaves_no_room_for_an_answer(tokens: int) -> None:
    turns = Turns(2, 10)
    with pytest.raises(EngineError) as long:
        ask(turns, tokens=tokens)
    assert long.value.code == "context_too_long" and long.value.values == {"tokens": tokens, "context": 10}
    assert len(turns) == 0


@pytest.mark.parametrize(("most", "new"), [(None, 5), (3, 3), (50, 5)])
def test_an_answer_ends_where_the_context_does(most: int | None, new: int) -> None:
    assert ask(Turns(2, 10), most=most).new == new


def test_projects_take_turns_and_what_is_gone_takes_none() -> None:
    turns = Turns(10, 10)
    waiting = {name: ask(turns, name) for name in ("a1", "a2", "a3", "b1", "c1", "b2")}
    assert turns.first() is waiting["a1"]
    assert turns.remove(lambda asked: asked in (waiting["c1"], waiting["a2"])) == [waiting["a2"], waiting["c1"]]
    assert names(turns) == ["a1", "b1", "a3", "b2"]
