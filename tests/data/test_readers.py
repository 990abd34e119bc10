"""Readers of published data sets, on small files of exactly their form."""

import gzip
import json

import pytest
from PIL import Image

from mmsrarec.data import BadRowsWarning, read_amazon_reviews, read_microlens, read_movielens, read_recbole
from mmsrarec.errors import InputError


def histories(data) -> dict:
    ids = [data.item_ids.gather(history).to_list() for history in data.histories()]
    return dict(zip(data.user_ids.to_list(), ids, strict=True))


@pytest.fixture
def latest(tmp_path):
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,3,4.0,964981247\n1,1,4.5,964982703\n"
    )
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n1,Toy Story (1995),Adventure|Comedy\n3,"Heat, The (2013)",(no genres listed)\n'
    )
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n")
    return tmp_path


def test_movielens_latest(latest):
    data = read_movielens(latest)
    assert histories(data) == {1: [3, 1]}
    assert data.items["title"].to_list() == ["Toy Story (1995)", "Heat, The (2013)"]
    assert data.items["categories"].to_list() == [["Adventure", "Comedy"], []]
    assert data.interactions["rating"].to_list() == [4.0, 4.5]
    assert read_movielens(latest / "ratings.csv").fingerprint == data.fingerprint


def test_movielens_brings_posters_from_its_folder(latest):
    (latest / "images").mkdir()
    Image.new("RGB", (4, 6)).save(latest / "images" / "3.jpg")
    assert read_movielens(latest).items["image"].to_list() == [None, "3.jpg"]


def test_movielens_1m(tmp_path):
    (tmp_path / "ratings.dat").write_text(
        "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978300000\n"
    )
    (tmp_path / "movies.dat").write_bytes(
        "661::James: the Giant Peach (1996)::Animation|Children's\r\n1193::Misérables, Les (1995)::Drama\r\n".encode(
            "latin-1"
        )
    )
    data = read_movielens(tmp_path)
    assert histories(data) == {1: [1193, 661], 2: [1193]}
    assert data.items["title"].to_list() == ["James: the Giant Peach (1996)", "Misérables, Les (1995)"]
    assert data.items["categories"].to_list() == [["Animation", "Children's"], ["Drama"]]
    assert data.interactions["rating"].to_list() == [5.0, 3.0, 4.0]
    (tmp_path / "movies.dat").write_text("661::cut")
    with pytest.raises(InputError, match=r"movies\.dat has a line of 2 fields, '661'"):
        read_movielens(tmp_path)


def test_movielens_100k(tmp_path):
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    flags = ["0"] * 19
    flags[1] = flags[5] = "1"
    lines = [
        f"{movie}|{title}|01-Jan-1997||url|{'|'.join(flags)}"
        for movie, title in ((242, "Kolya"), (302, "L.A."))
    ]
    (tmp_path / "u.item").write_text("\n".join(lines) + "\n")
    data = read_movielens(tmp_path)
    assert histories(data) == {186: [302], 196: [242]}
    assert data.items["categories"].to_list() == [["Action", "Comedy"]] * 2


def test_movielens_in_standard_columns(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp,rating\n2,318,1445714835,3.0\n")
    (tmp_path / "items.csv").write_text("item_id,title,description,categories,image\n318,T,D,A|B,318.jpg\n")
    assert read_movielens(tmp_path).item_text(0) == "T. D. Categories: A, B."


def test_movielens_without_movies_or_without_anything(tmp_path, latest):
    (latest / "movies.csv").unlink()
    assert read_movielens(latest).item_ids.to_list() == [1, 3]
    with pytest.raises(InputError, match=r"folder must hold ratings\.csv"):
        read_movielens(latest / "none")


PAIRS = [(1, 30, 5), (1, 10, 7), (2, 30, 1)]


@pytest.mark.parametrize("header", ["", "user,item,timestamp\n", "user_id,item_id,timestamp\n"])
@pytest.mark.parametrize(
    ("separator", "suffix"), [(",", "csv"), ("\t", "tsv"), (" ", "txt"), (",", "csv.gz")]
)
def test_microlens_pairs(tmp_path, header, separator, suffix):
    text = header.replace(",", separator) + "".join(separator.join(map(str, pair)) + "\n" for pair in PAIRS)
    (tmp_path / f"pairs.{suffix}").write_bytes(
        gzip.compress(text.encode()) if "gz" in suffix else text.encode()
    )
    data = read_microlens(tmp_path / f"pairs.{suffix}")
    assert histories(data) == {1: [30, 10], 2: [30]}
    assert data.interactions["timestamp"].to_list() == [5, 7, 1]


def test_microlens_sequences_titles_and_covers(tmp_path):
    (tmp_path / "pairs.tsv").write_text("1\t30 10 20\n2\t10\n")
    (tmp_path / "titles.csv").write_text('\ufeffitem,title\n10,"Cat, dog"\n20,fish, bird\n30,\n')
    (tmp_path / "covers").mkdir()
    Image.new("RGB", (4, 6)).save(tmp_path / "covers" / "20.jpg")
    data = read_microlens(tmp_path / "pairs.tsv", tmp_path / "titles.csv", images=tmp_path / "covers")
    assert histories(data) == {1: [30, 10, 20], 2: [10]}
    assert data.items["title"].to_list() == ["Cat, dog", "fish, bird", ""]
    assert data.items["image"].to_list() == [None, "20.jpg", None]


def test_microlens_counts_bad_rows_and_names_bad_files(tmp_path):
    (tmp_path / "pairs.csv").write_text("user,item,timestamp\n1,30,5\n1,30,5,9\n1,99,6\n")
    (tmp_path / "titles.csv").write_text("30,Cat\n30,Dog\n")
    with pytest.warns(BadRowsWarning):
        data = read_microlens(tmp_path / "pairs.csv", tmp_path / "titles.csv")
    assert data.bad_rows.counts == {"duplicate item_id": 1, "malformed line": 1, "unknown item": 1}
    (tmp_path / "pairs.csv").write_text("1,2,3,4\n")
    with pytest.raises(InputError, match="pairs must have the columns user, item, timestamp, got 4"):
        read_microlens(tmp_path / "pairs.csv")
    with pytest.raises(InputError, match="titles must have the columns item, title"):
        (tmp_path / "pairs.csv").write_text("1,2,3\n")
        (tmp_path / "titles.csv").write_text("nothing\n")
        read_microlens(tmp_path / "pairs.csv", tmp_path / "titles.csv")


REVIEWS = [
    {
        "rating": 5.0,
        "title": "t",
        "asin": "B1",
        "parent_asin": "P1",
        "user_id": "AA",
        "timestamp": 1588687728923,
    },
    {"rating": 1.0, "asin": "B2", "parent_asin": "P2", "user_id": "AA", "timestamp": 1588687720000},
]
META = [
    {
        "parent_asin": "P1",
        "main_category": "Beauty",
        "title": "Soap",
        "features": ["Gentle.", "Vegan."],
        "description": ["A bar."],
        "categories": ["Beauty", "Bath | Body"],
        "images": [
            {"variant": "PT01", "large": "https://m.example.org/I/side.jpg"},
            {"variant": "MAIN", "large": "https://m.example.org/I/front.jpg?x=1", "hi_res": None},
        ],
    },
    {
        "parent_asin": "P2",
        "main_category": "Toys",
        "title": None,
        "description": [],
        "categories": [],
        "images": [],
    },
]


def lines_of(records) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
def test_amazon_reviews_and_meta(tmp_path, pack):
    (tmp_path / "reviews.jsonl.gz").write_bytes(pack(lines_of(REVIEWS)))
    (tmp_path / "meta.jsonl.gz").write_bytes(pack(lines_of(META)))
    data = read_amazon_reviews(tmp_path / "reviews.jsonl.gz", tmp_path / "meta.jsonl.gz")
    assert histories(data) == {"AA": ["P2", "P1"]}
    assert data.item_text(0) == "Soap. Gentle. Vegan. A bar. Categories: Beauty, Bath / Body."
    assert data.item_text(1) == "Categories: Toys."
    assert data.images is None
    assert data.items["image"].to_list() == [None, None]


def test_amazon_pictures_are_local_files(tmp_path):
    (tmp_path / "reviews.jsonl").write_bytes(lines_of(REVIEWS))
    meta = [
        *META,
        {**META[0], "parent_asin": "P3", "images": [{"large": "https://m.example.org/I/none.jpg"}]},
    ]
    (tmp_path / "meta.jsonl").write_bytes(lines_of(meta))
    images = tmp_path / "images"
    images.mkdir()
    for name in ("front.jpg", "side.jpg", "P2.jpg"):
        Image.new("RGB", (4, 6)).save(images / name)
    with pytest.warns(BadRowsWarning, match="image missing"):
        data = read_amazon_reviews(tmp_path / "reviews.jsonl", tmp_path / "meta.jsonl", images=images)
    assert data.items["image"].to_list() == ["front.jpg", "P2.jpg", None]


def test_amazon_rating_files(tmp_path):
    text = "user_id,parent_asin,rating,timestamp\nAA,P1,5.0,1588687728923\n"
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert histories(read_amazon_reviews(tmp_path / "ratings.csv.gz")) == {"AA": ["P1"]}


def test_amazon_bad_lines_are_counted(tmp_path):
    odd = [
        {"user_id": 7, "parent_asin": "P1", "timestamp": 1588687728923},
        {"user_id": "\ud83d", "timestamp": []},
    ]
    content = lines_of([*REVIEWS, *odd]) + b"{broken\n[1, 2]\n\n" + b"[" * 100_000 + b"\n\xff\xfe\n"
    (tmp_path / "reviews.jsonl").write_bytes(content)
    with pytest.warns(BadRowsWarning) as caught:
        data = read_amazon_reviews(tmp_path / "reviews.jsonl")
    assert len(caught) == 1
    assert data.bad_rows.counts == {"malformed line": 4, "mixed id types": 1, "missing item_id": 1}
    assert data.n_interactions == 2


def test_amazon_files_that_are_cut_off_or_foreign_are_named(tmp_path):
    path = tmp_path / "reviews.jsonl.gz"
    path.write_bytes(gzip.compress(lines_of(REVIEWS * 1000))[:-20])
    with pytest.raises(InputError, match=r"reviews\.jsonl\.gz could not be read .*damaged or cut off"):
        read_amazon_reviews(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="holds no JSON object"):
        read_amazon_reviews(path)
    with pytest.raises(InputError, match="reviews must be an existing file"):
        read_amazon_reviews(tmp_path / "none.jsonl")


def test_strict_reaches_the_readers(tmp_path):
    (tmp_path / "pairs.csv").write_text("1,30,5\n1,30,6\n")
    with pytest.raises(InputError, match="duplicate event"):
        read_microlens(tmp_path / "pairs.csv", strict=True)


@pytest.fixture
def atomic(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    events = "user_id:token\titem_id:token\trating:float\ttime:float\n2\t30\t4\t9.0\n2\t10\t3\t5.0\n"
    (folder / "shop.inter").write_text(events)
    items = 'item_id:token\tname:token_seq\tclass:token_seq\n10\t"Red" Mug\tKitchen Gift\n30\tLamp\t\n'
    (folder / "shop.item").write_text(items)
    return folder


def test_recbole_atomic_files(atomic):
    columns = {"timestamp": "time", "title": "name", "categories": "class"}
    data = read_recbole(atomic, columns=columns, strict=True)
    assert histories(data) == {2: [10, 30]}
    assert data.interactions["rating"].to_list() == [3, 4]
    assert data.items["title"].to_list() == ['"Red" Mug', "Lamp"]
    assert data.items["categories"].to_list() == [["Kitchen", "Gift"], []]


def test_recbole_names_what_is_wrong(atomic):
    with pytest.raises(InputError, match=r"no column 'timestamp'"):
        read_recbole(atomic)
    with pytest.raises(InputError, match=r"maps 'title' to 'label'"):
        read_recbole(atomic, columns={"timestamp": "time", "title": "label"})
    (atomic / "shop.item").write_text("item_id\tname\n1\tx\n")
    with pytest.raises(InputError, match=r"name fields with their types"):
        read_recbole(atomic, columns={"timestamp": "time"})
    with pytest.raises(InputError, match=r"interactions must be an existing file"):
        read_recbole(atomic.parent)
