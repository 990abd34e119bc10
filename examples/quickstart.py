"""The whole path in Python, on a generated shop with the embedded backbone: about as long as ``make demo``.

.venv/bin/python examples/quickstart.py
"""

from mmsrarec import Recommender, make_catalogue
from mmsrarec.evaluate import evaluate_recommender

data = make_catalogue(items=60, users=600, seed=0, folder="runs/quickstart/shop")
train, valid, test = data.split(by="user", ratios=(8, 1, 1), seed=0)

recommender = Recommender(backbone="embedded", preset="demo")
recommender.fit(train, validation=valid, workdir="runs/quickstart")

user = train.user_ids[0]
print(recommender.recommend([user], k=5))
print(recommender.explain(user))
recommender.explain(user).to_html("runs/quickstart/explanation.html")

newcomer = test.item_ids[test.histories()[0][:3].tolist()].to_list()
print(recommender.recommend(histories=[newcomer], k=5))
print(recommender.search("warm winter", k=5))
print(evaluate_recommender(recommender, test, users=8))

recommender.save("runs/quickstart/model")
