"""The blend: learns which signal to trust, is calibrated, explains itself, survives saving to the bit."""

from pathlib import Path

import numpy as np
import pytest

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank import FEATURES, BlendRanker
from mmsrarec.storage import read_json, write_json

MLLM, STUDENT, SEQUENCE, KEYWORDS = (
    FEATURES.index(name) for name in ("mllm_logit", "student_logit", "sequence", "keywords")
)


def groups(users: int, *, asked: int = 0, seed: int = 0, curved: bool = False) -> list[np.ndarray]:
    """Groups of 21 in which the sequence score tells the answer, keywords a little, and, of `asked`, p(yes) too."""
    rng = np.random.default_rng(seed)
    found = []
    for user in range(users):
        matrix = rng.normal(size=(21, len(FEATURES))) * 3 + 1
        matrix[:, FEATURES.index("popularity")] = 7.0
        if curved:
            matrix[0, SEQUENCE] = rng.normal() * 0.5 + 1  # answers in the middle, others all over
        else:
            matrix[0, SEQUENCE] += 4
        matrix[0, KEYWORDS] += 0.5
        matrix[0, MLLM] += 2
        matrix[:, STUDENT] = np.nan
        if user >= asked:
            matrix[:, MLLM] = np.nan
        found.append(matrix)
    return found


def first_rank(blend: BlendRanker, asked: list[np.ndarray]) -> float:
    return float(np.mean([(blend.score(group)[1:] > blend.score(group)[0]).sum() for group in asked]))


def test_trusts_what_holds_and_not_the_rest() -> None:
    blend = BlendRanker().fit(groups(60), groups(60, seed=1))
    assert blend.kind_ == "linear"
    moved = np.abs(blend.contributions(np.concatenate(groups(20, seed=2)))).mean(axis=0)
    strength = dict(zip(FEATURES, moved, strict=True))
    assert strength["sequence"] > 4 * max(value for name, value in strength.items() if name != "sequence")
    assert strength["popularity"] == strength["mllm_logit"] == strength["student_logit"] == 0


@pytest.fixture(scope="module")
def straight() -> BlendRanker:
    return BlendRanker().fit(groups(200), groups(200, asked=9, seed=1))


@pytest.fixture(scope="module")
def curved() -> BlendRanker:
    return BlendRanker().fit(groups(200, curved=True), groups(200, asked=9, seed=1, curved=True))


def test_many_users_get_trees_where_trees_are_better(straight: BlendRanker, curved: BlendRanker) -> None:
    assert set(straight.cross_validated_) == {"linear", "trees"}
    assert curved.kind_ == "trees"
    held_out = groups(50, seed=3, curved=True)
    assert first_rank(curved, held_out) < 6 < first_rank(straight, held_out)


def test_the_language_model_counts_where_it_was_asked() -> None:
    blend = BlendRanker().fit(groups(80), groups(80, asked=40, seed=1))
    asked, silent = groups(60, asked=60, seed=2), groups(60, seed=2)
    assert first_rank(blend, asked) < first_rank(blend, silent)
    assert (blend.contributions(asked[0])[:, MLLM] != 0).all()
    assert (blend.contributions(silent[0])[:, MLLM] == 0).all()


def test_few_users_cannot_make_noise_of_the_language_model_count() -> None:
    """Its weight is shrunk by what chance alone gives such a weight, to nothing where one user was asked."""

    def noisy(users: int, *, asked: int, seed: int) -> list[np.ndarray]:
        found = groups(users, asked=asked, seed=seed)
        for matrix in found:
            matrix[0, MLLM] -= 2
        return found

    def weight(blend: BlendRanker) -> float:
        matrix = groups(1, asked=1, seed=99)[0]
        return float(np.ptp(blend.contributions(matrix)[:, MLLM]) / np.ptp(matrix[:, MLLM]))

    retrieved = groups(80)
    noise = [weight(BlendRanker().fit(retrieved, noisy(80, asked=12, seed=seed))) for seed in range(1, 11)]
    told = [weight(BlendRanker().fit(retrieved, groups(80, asked=60, seed=seed))) for seed in (1, 2)]
    assert np.median(noise) < 0.02
    assert noise.count(0.0) >= 3
    assert min(told) > 0.1
    assert weight(BlendRanker().fit(retrieved, groups(80, asked=1, seed=1))) == 0


def test_a_guess_of_the_language_model_has_a_weight_of_its_own() -> None:
    """It is trusted as far as guesses hold, and is never counted beside what the language model said itself."""

    def guessed(users: int, seed: int, noise: float) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        found = groups(users, asked=users, seed=seed)
        for matrix in found:
            matrix[:, STUDENT] = matrix[:, MLLM] + noise * rng.normal(size=21)
        return found

    weight = {}
    for noise in (0.1, 20.0):
        blend = BlendRanker().fit(groups(80), guessed(80, 1, noise))
        both = guessed(1, 2, noise)[0]
        said, guess = both.copy(), both.copy()
        said[:, STUDENT], guess[:, MLLM] = np.nan, np.nan
        assert np.array_equal(blend.score(both), blend.score(said))
        assert (blend.contributions(both)[:, STUDENT] == 0).all()
        added = blend.contributions(guess)
        assert (added[:, MLLM] == 0).all()
        assert np.ptp(blend.score(guess) - added.sum(axis=1)) < 1e-6
        weight[noise] = np.ptp(added[:, STUDENT]) / np.ptp(guess[:, STUDENT])
    assert weight[0.1] > 5 * weight[20.0]


@pytest.mark.parametrize("name", ["straight", "curved"])
class TestEitherKind:
    def test_probabilities_are_calibrated(self, name: str, request: pytest.FixtureRequest) -> None:
        blend = request.getfixturevalue(name)
        asked = groups(300, seed=5, curved=name == "curved")
        probability = np.concatenate([blend.probability(group) for group in asked])
        is_next = np.tile(np.arange(21) == 0, 300)
        edges = np.quantile(probability, np.linspace(0, 1, 11))
        bins = np.clip(np.searchsorted(edges, probability, "right") - 1, 0, 9)
        off = [abs((probability - is_next)[bins == number].sum()) for number in range(10)]
        assert sum(off) / len(is_next) < 0.02

    def test_contributions_add_up_to_what_differs(self, name: str, request: pytest.FixtureRequest) -> None:
        blend = request.getfixturevalue(name)
        matrix = groups(1, asked=1, seed=7)[0]
        rest = blend.score(matrix) - blend.contributions(matrix).sum(axis=1)
        assert rest == pytest.approx(np.full(21, rest[0]), abs=1e-6)
        odds = blend.probability(matrix) / (1 - blend.probability(matrix))
        assert np.log(odds) == pytest.approx(blend.score(matrix))

    def test_saved_and_loaded_to_the_bit(
        self, name: str, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        blend = request.getfixturevalue(name)
        blend.save(tmp_path)
        loaded = BlendRanker.load(tmp_path)
        matrix = np.concatenate(groups(3, asked=1, seed=8))
        assert np.array_equal(loaded.score(matrix), blend.score(matrix))
        assert loaded.kind_ == blend.kind_


def test_the_same_data_give_the_same_blend(curved: BlendRanker, tmp_path: Path) -> None:
    again = BlendRanker().fit(groups(200, curved=True), groups(200, asked=9, seed=1, curved=True))
    for name, blend in (("one", curved), ("two", again)):
        (tmp_path / name).mkdir()
        blend.save(tmp_path / name)
    assert (tmp_path / "one" / "blend.json").read_bytes() == (tmp_path / "two" / "blend.json").read_bytes()


def test_nobody_found_and_a_single_user() -> None:
    nothing = np.empty((0, len(FEATURES)))
    blend = BlendRanker().fit([nothing] * 8, groups(8))
    assert first_rank(blend, groups(20, seed=4)) < 7
    alone = BlendRanker().fit([nothing], groups(1))
    assert np.isfinite(alone.score(groups(1, seed=2)[0])).all()


def test_other_features_are_refused(tmp_path: Path) -> None:
    BlendRanker().fit(groups(5), groups(5)).save(tmp_path)
    write_json(tmp_path / "blend.json", read_json(tmp_path / "blend.json") | {"features": ["other"]})
    with pytest.raises(StoredFileError, match=r"was fitted on features \('other',\)"):
        BlendRanker.load(tmp_path)
    write_json(tmp_path / "blend.json", [])
    with pytest.raises(StoredFileError, match="was fitted on features"):
        BlendRanker.load(tmp_path)


def test_bad_groups_are_named() -> None:
    with pytest.raises(InputError, match="got 0 and 0"):
        BlendRanker().fit([], [])
    with pytest.raises(InputError, match="got 2 and 3"):
        BlendRanker().fit(groups(3), groups(2))
    with pytest.raises(InputError, match="the next item and one other"):
        BlendRanker().fit(groups(1), [groups(1)[0][:1]])
