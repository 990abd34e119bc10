"""Drawn examples: seeded, mixed as asked, and never with the answer in their context."""

from collections import Counter

import numpy as np
import pytest

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.retrieve import ContextBuilder
from mmsrarec.tune import DEFAULT_MIXTURE, sample_examples


def test_same_seed_same_examples(catalogue, builder: ContextBuilder) -> None:
    first, again, other = (
        sample_examples(catalogue.histories(), builder, count=40, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_mixture_and_balance(catalogue, builder: ContextBuilder) -> None:
    examples = sample_examples(catalogue.histories(), builder, count=800, seed=0)
    kinds = Counter(example.kind for example in examples)
    for kind, share in DEFAULT_MIXTURE.items():
        assert abs(kinds[kind] / 800 - share) < 0.06
    answers = Counter(example.answer for example in examples if example.kind == "yes_no")
    assert abs(answers["yes"] - answers["no"]) <= 1
    letters = Counter(example.answer for example in examples if example.kind == "choose_next")
    assert set(letters) == set("ABCD")


def test_one_kind_alone(catalogue, builder: ContextBuilder) -> None:
    examples = sample_examples(
        catalogue.histories(), builder, count=9, mixture={"next_keywords": 2.0}, seed=0
    )
    assert {example.kind for example in examples} == {"next_keywords"}


def test_context_never_holds_the_future(catalogue, builder: ContextBuilder, monkeypatch) -> None:
    """Each context is built from a true prefix, with the user itself excluded from the knowledge base."""
    seen = {}
    build = ContextBuilder.build

    def recording(self, histories, *, exclude_users=None):
        seen["prefixes"], seen["users"] = histories, exclude_users
        return build(self, histories, exclude_users=exclude_users)

    monkeypatch.setattr(ContextBuilder, "build", recording)
    histories = catalogue.histories()
    examples = sample_examples(histories, builder, count=200, mixture={"yes_no": 1.0}, seed=1)
    positives = 0
    for example, prefix, user in zip(examples, seen["prefixes"], seen["users"], strict=True):
        whole = histories[int(user)]
        assert np.array_equal(prefix, whole[: len(prefix)])
        assert 1 <= len(prefix) < len(whole)
        following = builder.view.candidate_text(int(whole[len(prefix)]))
        picture, text = example.prompt.content[1], example.prompt.content[2]
        is_next = (
            text.startswith(following) and picture.key == builder.view.picture(int(whole[len(prefix)])).key
        )
        assert is_next == (example.answer == "yes")
        positives += is_next
    assert positives == 100


def test_negatives_were_never_touched(catalogue, builder: ContextBuilder) -> None:
    """A user who touched all items but one gets that one as the negative."""
    n_items = len(builder.view)
    histories = Histories.from_lists([np.arange(n_items - 1)])
    examples = sample_examples(histories, builder, count=10, mixture={"yes_no": 1.0}, seed=0)
    left = builder.view.candidate_text(n_items - 1)
    for example in examples:
        assert example.prompt.content[2].startswith(left) == (example.answer == "no")


def test_no_unseen_item_is_a_clear_error(builder: ContextBuilder) -> None:
    histories = Histories.from_lists([np.arange(len(builder.view))])
    with pytest.raises(InputError, match="unseen ones are needed as negatives"):
        sample_examples(histories, builder, count=2, mixture={"yes_no": 1.0})


def test_no_next_item_is_a_clear_error(builder: ContextBuilder) -> None:
    with pytest.raises(InputError, match="no user has two events"):
        sample_examples(Histories.from_lists([[1], [2]]), builder, count=1)
    assert sample_examples(Histories.from_lists([[1]]), builder, count=0) == []


@pytest.mark.parametrize("mixture", [{"other": 1.0}, {"yes_no": -1.0}, {"yes_no": 0.0}, {}])
def test_bad_mixture_is_a_clear_error(catalogue, builder: ContextBuilder, mixture: dict[str, float]) -> None:
    with pytest.raises(InputError, match="mixture must give shares of 0 or more"):
        sample_examples(catalogue.histories(), builder, count=1, mixture=mixture)
