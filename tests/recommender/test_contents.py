"""Items are read as the models will read them."""

import shutil
from pathlib import Path

import pytest

from mmsrarec import Dataset
from mmsrarec.recommender.contents import read_contents


def test_picture_damaged_inside_is_left_out_with_a_warning(catalogue, tmp_path: Path) -> None:
    shop = catalogue.images.root.parent
    shutil.copytree(shop, tmp_path / "shop")
    victim = tmp_path / "shop" / "images" / catalogue.items["image"][3]
    content = bytearray(victim.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    victim.write_bytes(bytes(content))
    folder = tmp_path / "shop"
    data = Dataset.from_csv(folder / "interactions.csv", folder / "items.csv", images=folder / "images")
    with pytest.warns(
        UserWarning, match=f"1 pictures are damaged inside and left out, first: .*{victim.name}"
    ):
        readable, contents = read_contents(data, range(data.n_items))
    assert readable.item_content(3).picture is None
    assert [content.picture is None for content in contents].count(True) == 1
    assert readable.items["image"].null_count() == 1
