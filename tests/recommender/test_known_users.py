"""Who is known, and what of it belongs to the training set, also after a file."""

from pathlib import Path

from mmsrarec import Dataset
from mmsrarec.recommender.known_users import KnownUsers


def test_training_histories_end_where_the_training_set_does(catalogue: Dataset, tmp_path: Path) -> None:
    train, validation, _ = catalogue.split(by="time", ratios=(6, 2, 2))
    users = KnownUsers.from_datasets(train, validation)
    both = [user for user in train.find_users(validation.user_ids) if user >= 0]
    assert both
    assert len(users.histories[both[0]]) > len(train.histories()[int(both[0])])
    users.save(tmp_path)
    for known in (users, KnownUsers.load(tmp_path)):
        training = known.training_histories()
        assert [history.tolist() for history in training] == [row.tolist() for row in train.histories()]
        position = int(both[0])
        assert known.knowledge_base_id[position] == position
        assert known.training.sum() == train.n_users
