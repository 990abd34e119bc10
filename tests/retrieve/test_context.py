"""What is known of a user: the last items, similar users' next items, within a budget."""

import numpy as np
import pytest

from mmsrarec.data import Dataset
from mmsrarec.errors import InputError
from mmsrarec.retrieve import ContextBuilder, ItemView, SimilarUsers


def test_history_is_the_most_recent_oldest_first(catalogue: Dataset, builder: ContextBuilder) -> None:
    history = catalogue.histories()[0]
    assert len(history) > 5
    [context] = builder.build([history])
    assert context.history == tuple(history[-5:].tolist())
    lines = context.history_text(builder.view).splitlines()
    assert lines[-1] == "- " + ", ".join(builder.view.keywords(int(history[-1])))


def test_neighbours_are_what_the_index_finds(
    catalogue: Dataset, builder: ContextBuilder, similar_users: SimilarUsers
) -> None:
    histories = [catalogue.histories()[user] for user in range(6)]
    exclude = np.arange(6, dtype=np.int32)
    found = similar_users.search(histories, 3, exclude_users=exclude)
    for user, context in enumerate(builder.build(histories, exclude_users=exclude)):
        assert [neighbour.item for neighbour in context.neighbours] == found.next_items[user].tolist()
        assert user not in {neighbour.user for neighbour in context.neighbours}
        assert not {neighbour.item for neighbour in context.neighbours} & set(histories[user].tolist())


def test_empty_history_has_a_context(builder: ContextBuilder) -> None:
    [context] = builder.build([np.array([], np.int32)])
    assert context.history == ()
    assert context.history_text(builder.view) == "- nothing known"
    assert context.neighbours_text(builder.view) == "- nothing known"


def test_no_users_no_contexts(builder: ContextBuilder) -> None:
    assert builder.build([]) == []


def test_budget_drops_the_weakest_evidence_first(
    catalogue: Dataset, view: ItemView, similar_users: SimilarUsers
) -> None:
    history = catalogue.histories()[1]
    unlimited, *smaller = (
        ContextBuilder(
            view, similar_users, token_budget=budget, count_tokens=lambda text: len(text.split())
        ).build([history])[0]
        for budget in (1000, 60, 40, 20, 1)
    )
    assert unlimited.dropped == 0
    for context in smaller:
        kept = len(context.neighbours)
        assert context.neighbours == unlimited.neighbours[:kept]
        assert context.history == unlimited.history[-len(context.history) :]
        assert kept == 0 or len(context.history) == len(unlimited.history)
        assert context.dropped == len(unlimited.neighbours) - kept + len(unlimited.history) - len(
            context.history
        )
    assert smaller[-1].history == unlimited.history[-1:]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"history": 0}, "history must be 1 or more, got 0"),
        ({"neighbours": -1}, "similar_users must be 0 or more, got -1"),
        ({"token_budget": 0}, "token_budget must be 1 or more, got 0"),
    ],
)
def test_bad_arguments_are_named(
    view: ItemView, similar_users: SimilarUsers, argument: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ContextBuilder(view, similar_users, count_tokens=len, **argument)


def test_similar_users_that_were_found_before_are_told_of_as_if_asked_for(catalogue, builder, similar_users):
    histories = [catalogue.histories()[user] for user in range(6)]
    exclude = np.arange(6)
    found = similar_users.search(histories, 20, exclude_users=exclude)
    assert builder.build(histories, found=found) == builder.build(histories, exclude_users=exclude)
