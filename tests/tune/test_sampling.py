"""Drawn examples: seeded, mixed as asked, and never with the answer in their context."""

import re
from collections import Counter

import numpy as np
import pytest

from mmsrarec.data import Histories, ItemContent
from mmsrarec.errors import InputError
from mmsrarec.retrieve import CoInteraction, ContextBuilder, ItemView, PathFinder, SequenceModel, SimilarUsers
from mmsrarec.tune import (
    DEFAULT_MIXTURE,
    PAPER_MIXTURE,
    WORDINGS,
    Example,
    last_choices,
    sample_examples,
    template_text,
    yes_no_prompt,
)


def test_same_seed_same_examples(catalogue, builder: ContextBuilder) -> None:
    first, again, other = (
        sample_examples(catalogue.histories(), builder, count=40, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_mixture_and_balance(catalogue, builder: ContextBuilder) -> None:
    examples = sample_examples(catalogue.histories(), builder, count=800, mixture=PAPER_MIXTURE, seed=0)
    kinds = Counter(example.kind for example in examples)
    for kind, share in PAPER_MIXTURE.items():
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
    build, evidence = ContextBuilder.build, ContextBuilder.evidence

    def recording(self, histories, *, exclude_users=None):
        seen["prefixes"], seen["users"] = histories, exclude_users
        return build(self, histories, exclude_users=exclude_users)

    def recording_paths(self, histories, candidates, *, exclude_users=None):
        seen["paths"] = exclude_users
        return evidence(self, histories, candidates, exclude_users=exclude_users)

    monkeypatch.setattr(ContextBuilder, "build", recording)
    monkeypatch.setattr(ContextBuilder, "evidence", recording_paths)
    histories = catalogue.histories()
    examples = sample_examples(histories, builder, count=200, mixture={"yes_no": 1.0}, seed=1)
    positives = 0
    for example, prefix, user in zip(examples, seen["prefixes"], seen["users"], strict=True):
        assert seen["paths"] is seen["users"]
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
    with pytest.raises(InputError, match="fewer untouched items"):
        sample_examples(histories, builder, count=2, mixture={"yes_no": 1.0})


SECRETS = 12 * 6
ALL_KINDS = dict.fromkeys(DEFAULT_MIXTURE | PAPER_MIXTURE, 1.0)


@pytest.fixture(scope="module")
def secretive() -> tuple[Histories, ContextBuilder]:
    """Nobody shares an item with anybody, and each item has a word of its own."""
    histories = Histories.from_lists(np.arange(SECRETS).reshape(12, 6).tolist())
    contents = [ItemContent(f"thing{item}x", "", (), None) for item in range(SECRETS)]
    view = ItemView(contents, [(f"word{item}x",) for item in range(SECRETS)], lambda text, tokens: text)
    model = SequenceModel(dimension=16, epochs=1, seed=0).fit(histories, SECRETS)
    paths = CoInteraction.from_arrays(histories.indptr, histories.items, SECRETS)
    users = SimilarUsers().fit(model, histories)
    return histories, ContextBuilder(view, users, count_tokens=lambda text: 1, paths=PathFinder(paths))


def leaks(example: Example) -> bool:
    """Whether the prompt tells what it asks for."""
    if example.kind == "compare":
        answers = ["yes" if place == example.answer else "no" for place in range(len(example.prompt))]
        single = [Example("yes_no", *asked) for asked in zip(example.prompt, answers, strict=True)]
        return any(leaks(one) for one in single)
    text = example.prompt.text
    if example.kind == "match_keywords":
        return len(re.findall(r"word\d+x", text)) != 1
    if example.kind == "next_keywords":
        return example.answer in text
    if example.kind == "choose_next":
        [word] = re.findall(rf"{example.answer}\) (word\d+x)", text)
        return text.count(word) > 1
    word = re.findall(r"thing\d+x\. Keywords: (word\d+x)", text)[-1]
    # A wrong candidate may well be what a similar user took.
    return (text.count(word) > 1 and example.answer == "yes") or "Chosen by" in text


def test_no_prompt_tells_its_answer(secretive: tuple[Histories, ContextBuilder]) -> None:
    histories, builder = secretive
    examples = sample_examples(histories, builder, count=300, mixture=ALL_KINDS)
    assert not [example for example in examples if leaks(example)]
    assert not [example for example in last_choices(histories, builder, count=12) if leaks(example)]


@pytest.mark.parametrize(
    ("forgetful", "kinds"),
    [("build", set(ALL_KINDS) - {"match_keywords"}), ("evidence", {"yes_no", "compare"})],
)
def test_a_builder_that_forgets_whom_to_leave_out_is_caught(
    secretive: tuple[Histories, ContextBuilder], monkeypatch, forgetful: str, kinds: set[str]
) -> None:
    right = getattr(ContextBuilder, forgetful)
    monkeypatch.setattr(ContextBuilder, forgetful, lambda self, *given, exclude_users: right(self, *given))
    histories, builder = secretive
    examples = sample_examples(histories, builder, count=300, mixture=ALL_KINDS)
    assert {example.kind for example in examples if leaks(example)} == kinds


def test_every_wording_is_used_and_ranking_s_own_most(catalogue, builder: ContextBuilder) -> None:
    examples = sample_examples(catalogue.histories(), builder, count=400, mixture={"yes_no": 1.0})
    endings = Counter(example.prompt.text.rsplit("\n", 1)[1] for example in examples)
    asked = [template_text("yes_no", 1 + place).rsplit("}", 1)[1] for place in range(WORDINGS)]
    assert set(endings) == set(asked)
    assert abs(endings[asked[0]] / 400 - 0.5) < 0.1


def test_last_choices_ask_each_user_once_as_ranking_asks(catalogue, builder: ContextBuilder) -> None:
    histories = catalogue.histories()
    examples = last_choices(histories, builder, count=10_000, seed=1)
    assert len(examples) == (histories.lengths >= 2).sum()
    assert examples == last_choices(histories, builder, count=10_000, seed=1)
    asked = {example.prompt[example.answer] for example in examples}
    for user, history in enumerate(histories):
        if len(history) >= 2:
            before, excluded = histories.before([user], [len(history) - 1]), np.array([user])
            [context] = builder.build(before, exclude_users=excluded)
            [[paths]] = builder.evidence(before, [history[-1:]], exclude_users=excluded)
            assert yes_no_prompt(context, builder.view, int(history[-1]), paths) in asked
    assert all(len(set(example.prompt)) == 6 for example in examples)
    assert len(last_choices(histories, builder, count=3)) == 3


@pytest.mark.parametrize("source", ["popularity", "hard"])
def test_negatives_come_from_their_source(catalogue, builder: ContextBuilder, source: str) -> None:
    histories = catalogue.histories()
    likely = np.arange(6)
    examples = sample_examples(
        Histories.from_lists([[7, 8], *[[int(item), 9] for item in likely]])
        if source == "popularity"
        else histories,
        builder,
        count=60,
        mixture={"choose_next": 1.0},
        negatives={source: 1.0},
        hard_candidates=lambda prefixes, contexts, users: [likely] * len(prefixes),
    )
    lines = {f"{', '.join(builder.view.keywords(int(item)))}" for item in (*likely, 7, 8, 9)}
    shown = [
        line[3:] for example in examples for line in re.findall(r"^[A-D]\) .*$", example.prompt.text, re.M)
    ]
    from_source = sum(line in lines for line in shown)
    # Of four options one is the answer; a user may have taken some of what is likely.
    assert from_source >= (0.95 if source == "popularity" else 0.6) * len(shown)


def test_no_next_item_is_a_clear_error(builder: ContextBuilder) -> None:
    with pytest.raises(InputError, match="no user has two events"):
        sample_examples(Histories.from_lists([[1], [2]]), builder, count=1)
    assert sample_examples(Histories.from_lists([[1]]), builder, count=0) == []


@pytest.mark.parametrize("mixture", [{"other": 1.0}, {"yes_no": -1.0}, {"yes_no": 0.0}, {}])
def test_bad_mixture_is_a_clear_error(catalogue, builder: ContextBuilder, mixture: dict[str, float]) -> None:
    with pytest.raises(InputError, match="mixture must give shares of 0 or more"):
        sample_examples(catalogue.histories(), builder, count=1, mixture=mixture)
