import math
import threading
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.retrieve.keyword_search import KeywordSearch
from mmsrarec.retrieve.tokens import tokens
from mmsrarec.storage import read_json, write_json

SHOP = [
    ["red scarf", "wool"],
    ["red hat", "wool hats"],
    ["blue scarf", "silk"],
    [],
    ["Movies", "sci-fi"],
]

any_keywords = st.lists(
    st.lists(st.text(max_size=12) | st.sampled_from(["red scarf", "wool", "red"]), max_size=4)
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("Women's RED scarves!", ["woman", "red", "scarf"]),
        ("t-shirt_set", ["t", "shirt", "set"]),
        ("don't", ["dont"]),
        ("movies and stories", ["movie", "and", "story"]),
        ("boxes, dresses, watches, heroes, shoes", ["box", "dress", "watch", "hero", "shoe"]),
        ("glass bus tennis series jeans", ["glass", "bus", "tennis", "series", "jeans"]),
        ("ＦＵＬＬ　ｗｉｄｔｈ ½", ["full", "width", "1", "2"]),
        ("Straße CAFE\u0301", ["strasse", "café"]),
        ("हिन्दी फ़िल्में", ["हिन्दी", "फ\u093cिल्में"]),
        ("红色 毛衣", ["红色", "毛衣"]),
        ("a\ud800b \x00 🎬", ["a", "b"]),
    ],
)
def test_tokens(text, wanted):
    assert tokens(text) == wanted


@given(st.text())
@example("ǰ")
def test_tokens_do_not_depend_on_how_characters_are_composed(text):
    composed, decomposed = (tokens(unicodedata.normalize(form, text)) for form in ("NFC", "NFD"))
    assert composed == decomposed
    assert all(token and not any(map(str.isspace, token)) for token in composed)


def test_an_item_that_shares_the_phrase_comes_before_one_that_shares_its_words():
    search = KeywordSearch([["scarf red"], ["red scarf"], ["scarf"], ["tea"]])
    assert search.search("a RED scarf", k=5)[0].tolist() == [1, 0, 2]
    assert search.search(["red scarves"], k=5)[0].tolist() == [1, 0, 2]


def test_a_rare_word_weighs_more_than_a_common_one():
    search = KeywordSearch([["wool", "hat"], ["wool", "kilt"], ["wool", "sock"], ["hat", "tea"]])
    assert search.search("wool kilt hat", k=1)[0].tolist() == [1]


def test_score_is_the_formula_of_the_documentation():
    search = KeywordSearch([["wool"], ["wool", "wool hat"], ["tea"]])
    ids, scores = search.search("wool", k=5)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean_length = (1 + 4 + 1) / 3
    item = {0: (1, 1), 1: (2, 4)}  # count of the word, length of the item
    wanted = {
        i: idf * count * 2.2 / (count + 1.2 * (0.5 + 0.5 * length / mean_length))
        for i, (count, length) in item.items()
    }
    assert dict(zip(ids.tolist(), scores.tolist(), strict=True)) == pytest.approx(wanted, rel=1e-6)


def test_keywords_given_twice_count_twice_and_unknown_words_not_at_all():
    search = KeywordSearch(SHOP)
    _, once = search.search(["wool"], k=1)
    _, twice = search.search(["wool", "Wool", "xyzzy"], k=1)
    assert twice == pytest.approx(2 * once)
    assert search.search("xyzzy", k=3)[0].size == 0
    assert search.search([], k=3)[0].size == 0


def test_filters_reach_the_index():
    search = KeywordSearch(SHOP)
    assert search.search("scarf", k=5, exclude=[0])[0].tolist() == [2]
    assert search.search("scarf", k=5, allow=np.array([True, True, False, False, False]))[0].tolist() == [0]


def test_batch_equals_single_searches():
    search = KeywordSearch(SHOP)
    queries = ["red scarf", ["wool"], "nothing known", [], "movie"]
    ids, scores = search.search_batch(queries, k=3, threads=2, exclude=[1])
    for row, query in enumerate(queries):
        single_ids, single_scores = search.search(query, k=3, exclude=[1])
        assert ids[row, : len(single_ids)].tolist() == single_ids.tolist()
        np.testing.assert_array_equal(scores[row, : len(single_ids)], single_scores)
        assert (ids[row, len(single_ids) :] == -1).all()
    assert search.search_batch([], k=3)[0].shape == (0, 3)


@given(first=any_keywords, more=any_keywords)
def test_adding_finds_what_building_finds(first, more):
    grown = KeywordSearch(first)
    assert grown.add(more).tolist() == list(range(len(first), len(first) + len(more)))
    built = KeywordSearch(first + more)
    for query in [*first, *more, "red scarf"]:
        assert set(grown.search(query, 100)[0]) == set(built.search(query, 100)[0])
    assert len(grown) == len(built)


@given(keywords=any_keywords, query=st.sampled_from(["red scarf wool", ["red", "red scarf"], "wool wool"]))
def test_matches_explain_the_score(keywords, query):
    search = KeywordSearch(keywords)
    ids, scores = search.search(query, k=100)
    for item, score in zip(ids, scores, strict=True):
        matches = search.matches(query, int(item))
        assert sum(match.weight for match in matches) == pytest.approx(score, rel=1e-6)
        assert [match.weight for match in matches] == sorted(
            (match.weight for match in matches), reverse=True
        )
        assert all(
            set(match.keywords) <= set(search.keywords(int(item))) and match.keywords for match in matches
        )
    for item in set(range(len(keywords))) - set(ids.tolist()):
        assert search.matches(query, item) == ()


@given(first=any_keywords, more=any_keywords)
def test_loading_gives_back_what_was_saved(tmp_path_factory, first, more):
    search = KeywordSearch(first)
    search.add(more)
    folder = tmp_path_factory.mktemp("artefacts") / "search"
    search.save(folder)
    loaded = KeywordSearch.load(folder)
    assert loaded.fingerprint == search.fingerprint
    for query in [*first, *more, "red scarf"]:
        np.testing.assert_array_equal(loaded.search(query, 10), search.search(query, 10))
    search.add([["red tea"]])
    loaded.add([["red tea"]])
    np.testing.assert_array_equal(loaded.search("red tea", 10), search.search("red tea", 10))


def test_damage_and_other_rules_are_refused(tmp_path):
    KeywordSearch(SHOP).save(tmp_path / "search")
    manifest = read_json(tmp_path / "search" / "manifest.json")
    manifest["details"]["tokens_version"] += 1
    write_json(tmp_path / "search" / "manifest.json", manifest)
    with pytest.raises(StoredFileError, match="rules for tokens of version 2, this mmsrarec has version 1"):
        KeywordSearch.load(tmp_path / "search")
    KeywordSearch(SHOP).save(tmp_path / "search")
    index = tmp_path / "search" / "keywords.index"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(StoredFileError, match="is damaged"):
        KeywordSearch.load(tmp_path / "search")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: KeywordSearch(["red scarf"]),
            r"keywords\[0\] must be a sequence of strings .* got 'red scarf'",
        ),
        (lambda: KeywordSearch([["red"], [None]]), r"keywords\[1\] must be a sequence of strings"),
        (lambda: KeywordSearch(SHOP).search([3], 1), r"query\[0\] must be a string, got int"),
        (lambda: KeywordSearch(SHOP).search("red", -1), "k must be an integer of 0 or more"),
        (lambda: KeywordSearch(SHOP).matches("red", 5), r"item must lie in 0\.\.4, got 5"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_searches_go_on_during_additions():
    search = KeywordSearch(SHOP)
    errors, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                search.search("red word 5 word 50 word 99", k=10)
            except InputError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        search.add([[f"word {number}", "red"]])
    done.set()
    reader.join()
    assert not errors
