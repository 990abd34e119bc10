"""Each way to game the rewards that was looked for, and what keeps it from paying."""

from __future__ import annotations

import pytest
import torch
from mmsrarec.kernels import GroupReward

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent
from mmsrarec.errors import MmsrarecError
from mmsrarec.summarize.keywords import parse_answer
from mmsrarec.summarize.rewards import (
    KeywordScorer,
    RewardSettings,
    rewarded_text,
)
from mmsrarec.summarize.scored_batch import RecentAnswers, ScoredBatch, answer_parser

FILMS = [
    ItemContent("Casino Royale", "A spy plays cards against a banker of terrorists.", ("Action", "Thriller")),
    ItemContent("The Piano", "A mute woman and her daughter arrive on a lonely coast.", ("Drama", "Romance")),
    ItemContent("Toy Story", "A cowboy doll envies the space ranger of his boy.", ("Animation", "Comedy")),
    ItemContent("Alien", "The crew of a freighter finds a deadly creature in space.", ("Horror", "Sci-Fi")),
]
HONEST = [
    "spy, cards, banker",
    "mute woman, daughter, coast",
    "cowboy doll, boy",
    "freighter, creature, space",
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    try:
        return SentenceEncoder.load(device="cpu")
    except MmsrarecError as error:
        pytest.skip(f"the embedded sentence encoder is not installed: {error}")


def reward(
    backbone: Backbone,
    encoder: SentenceEncoder,
    answers: list[str],
    recent: RecentAnswers,
    ids: tuple[int, ...] = (1, 0),
    **settings: float,
) -> GroupReward:
    """What the answers about the films would get in training, at the default weights but for reconstruction.

    A tiny random backbone says nothing about reconstruction, so that weight is 0. An answer ends with id 0.
    """
    judge = KeywordScorer(backbone, encoder, RewardSettings(reconstruction=0.0, **settings))
    batch = ScoredBatch(judge, answer_parser(8, 24, [0]), recent=recent)
    return batch(answers, [rewarded_text(film) for film in FILMS], [list(ids)] * len(answers))


def test_a_copied_title_does_not_pay(tiny_llava: Backbone, encoder: SentenceEncoder) -> None:
    titles = [film.title.lower() for film in FILMS]
    copied = reward(tiny_llava, encoder, titles, RecentAnswers())
    honest = reward(tiny_llava, encoder, HONEST, RecentAnswers())
    assert honest.total.mean() > copied.total.mean() + 0.1
    # What keeps it away: the title is not in the text that is rewarded. With it, copying would pay about as well.
    judge = KeywordScorer(tiny_llava, encoder, RewardSettings(reconstruction=0.0))
    keywords = [parse_answer(title).keywords for title in titles]
    with_titles = judge.score(keywords, [1] * 4, [film.text for film in FILMS])
    assert with_titles.total.mean() > copied.total.mean() + 0.1


def test_repeated_words_do_not_pay(tiny_llava: Backbone, encoder: SentenceEncoder) -> None:
    repeated = [f"{answer}, {answer}" for answer in HONEST]
    once = reward(tiny_llava, encoder, HONEST, RecentAnswers())
    twice = reward(tiny_llava, encoder, repeated, RecentAnswers())
    assert torch.equal(once.information, twice.information)
    assert (twice.total < once.total).all()


def test_a_clause_does_not_pay(tiny_llava: Backbone, encoder: SentenceEncoder) -> None:
    clauses = [rewarded_text(film).split(".")[0].lower() for film in FILMS]
    clause = reward(tiny_llava, encoder, clauses, RecentAnswers())
    assert (clause.information == 0).all()
    assert (clause.total < reward(tiny_llava, encoder, HONEST, RecentAnswers()).total).all()
    # What keeps it away: it is not read as its words, which would pay more than honest keywords.
    judge = KeywordScorer(tiny_llava, encoder, RewardSettings(reconstruction=0.0))
    read = [parse_answer(answer) for answer in clauses]
    repaired = judge.score(
        [answer.keywords for answer in read],
        [answer.written for answer in read],
        [rewarded_text(film) for film in FILMS],
    )
    assert repaired.total.mean() > reward(tiny_llava, encoder, HONEST, RecentAnswers()).total.mean()


def test_an_answer_without_an_end_does_not_pay(tiny_llava: Backbone, encoder: SentenceEncoder) -> None:
    longer = [f"{answer}, film, story" for answer in HONEST]
    endless = reward(tiny_llava, encoder, longer, RecentAnswers(), ids=(1,) * 24)
    assert (endless.information == 0).all()
    honest = reward(tiny_llava, encoder, HONEST, RecentAnswers())
    assert (endless.total < honest.total).all()
    # The last token of the budget may be the end.
    ended = reward(tiny_llava, encoder, HONEST, RecentAnswers(), ids=(1,) * 23 + (0,))
    assert torch.equal(ended.total, honest.total)


def test_a_phrase_costs_its_words(tiny_llava: Backbone, encoder: SentenceEncoder) -> None:
    phrased = ["spy cards banker", "mute woman daughter coast", "cowboy doll boy", "freighter creature space"]
    phrase = reward(tiny_llava, encoder, phrased, RecentAnswers())
    listed = reward(tiny_llava, encoder, HONEST, RecentAnswers())
    assert torch.equal(phrase.length, listed.length)


def test_one_list_for_all_items_stops_paying_once_all_have_it(
    tiny_llava: Backbone, encoder: SentenceEncoder
) -> None:
    generic = ["film, story, action, drama"] * len(FILMS)

    def answered_everywhere() -> RecentAnswers:
        recent = RecentAnswers()
        recent.add([parse_answer(generic[0]).keywords] * 64)
        return recent

    def of_generic(commonness: float) -> float:
        return float(
            reward(tiny_llava, encoder, generic, answered_everywhere(), commonness=commonness).total.mean()
        )

    # The paper's form: such a list is near every text, so it pays more than silence, which gets 0.
    assert of_generic(0.0) > 0.05
    # With a price on what every answer has it does not; what tells an item apart costs what it did.
    assert of_generic(20.0) < 0
    plain, priced = (
        reward(tiny_llava, encoder, HONEST, answered_everywhere(), commonness=commonness)
        for commonness in (0.0, 20.0)
    )
    assert torch.equal(plain.total, priced.total)


def test_recent_answers_forget_the_oldest() -> None:
    recent = RecentAnswers(most=4)
    recent.add([("action",)] * 4)
    assert recent.share("Actions") == recent.largest_share == 1.0
    recent.add([("drama", "war"), ("drama",), ()])
    assert recent.share("action") == 0.25
    assert recent.largest_share == 0.5


def test_held_out_answers_are_neither_remembered_nor_observed(
    tiny_llava: Backbone, encoder: SentenceEncoder
) -> None:
    seen: list[object] = []
    recent = RecentAnswers()
    judge = KeywordScorer(tiny_llava, encoder, RewardSettings())
    batch = ScoredBatch(judge, answer_parser(8, 24, [0]), seen.extend, recent)
    texts = [rewarded_text(film) for film in FILMS]
    batch(HONEST, texts, [[1, 0]] * 4, held_out=True)
    assert not seen
    assert recent.largest_share == 0.0
    batch(HONEST[::-1], texts, [[1, 0]] * 4)
    assert len(seen) == 4
    assert recent.largest_share > 0
