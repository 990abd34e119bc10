"""Losses of training rows: the same whether prompts share their beginning or each is run alone, gradients too."""

import pytest
import torch
from peft import LoraConfig

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.losses import comparison_loss, example_loss
from mmsrarec.backbone.packing import TrainingRow, lay_out
from mmsrarec.testing import TinyPicture

SHARED = ("A person liked, oldest first: blue mugs, red hats, old chairs, and one thing more: ",)
RED, BLUE = TinyPicture((200, 30, 30)), TinyPicture((20, 30, 200))
FAMILIES = ["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"]
pytestmark = pytest.mark.filterwarnings("ignore:.*reads text only")


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest):
    backbone = request.getfixturevalue(request.param)
    torch.manual_seed(0)
    target = r".*(language_model|model\.layers|text_model).*\.(q_proj|v_proj)"
    backbone.add_adapter(
        "tuned", LoraConfig(r=4, lora_alpha=8, target_modules=target, init_lora_weights=False)
    )
    yield backbone
    backbone.remove_adapter("tuned")


def training_rows(backbone: Backbone) -> list[TrainingRow]:
    """One to write, one to compare with a picture in the beginning, one to compare with pictures in the branches."""
    [written] = backbone.encode([Prompt(("Say it.",))], ["no, it is not"])
    both = [Prompt((*SHARED, RED, f" Is it {words}?")) for words in ("red", "a very blue thing", "hot")]
    own = [Prompt((*SHARED, picture, " Is it red?")) for picture in (BLUE, RED)]
    return [
        TrainingRow(tuple(backbone.encode(both)), 2),
        TrainingRow((written,)),
        TrainingRow(tuple(backbone.encode(own)), 0),
    ]


def loss_and_gradients(backbone: Backbone, rows: list[TrainingRow]) -> tuple[float, dict[str, torch.Tensor]]:
    with backbone.train_adapter("tuned") as model:
        loss, _ = example_loss(backbone, model, rows)
        loss.backward()
        gradients = {
            name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
        }
    return float(loss), gradients


def test_sharing_a_beginning_changes_nothing(backbone: Backbone, monkeypatch) -> None:
    rows = training_rows(backbone)
    assert all(row.prefix > 16 for row in rows if row.right is not None)
    tokens = lay_out(backbone, rows).inputs["attention_mask"].shape
    packed = loss_and_gradients(backbone, rows)
    monkeypatch.setattr("mmsrarec.backbone.packing._takes_masks", lambda backbone: False)
    assert lay_out(backbone, rows).inputs["attention_mask"].shape[0] == 6 > tokens[0] == 3
    alone = loss_and_gradients(backbone, rows)
    assert packed[0] == pytest.approx(alone[0], rel=1e-5)
    assert packed[1].keys() == alone[1].keys()
    for name, gradient in alone[1].items():
        torch.testing.assert_close(packed[1][name], gradient, rtol=1e-3, atol=1e-6)
    assert max(float(gradient.abs().max()) for gradient in alone[1].values()) > 1e-4


def test_compared_prompts_are_judged_by_what_ranking_reads(backbone: Backbone) -> None:
    prompts = [Prompt((*SHARED, f"Is it {words}?")) for words in ("red", "blue", "a hot one")]
    with backbone.adapter("tuned"):
        p = torch.tensor(backbone.first_token_probability(prompts)).double()
    score = torch.logit(p)
    expected = -score.log_softmax(0)[1] - 0.5 * p[1].log() - 0.25 * ((1 - p[0]).log() + (1 - p[2]).log())
    loss, _ = loss_and_gradients(backbone, [TrainingRow(tuple(backbone.encode(prompts)), 1)])
    assert loss == pytest.approx(float(expected), rel=1e-4)


def test_prompts_with_nothing_in_common_can_be_compared(tiny_llama: Backbone) -> None:
    encoded = tiny_llama.encode([Prompt(("red",)), Prompt(("is it blue or green?",))])
    rows = [TrainingRow((one, other), 0) for one, other in (encoded, encoded[::-1])]
    assert len(rows[0]) == sum(map(len, encoded)) - rows[0].prefix
    with torch.no_grad():
        losses = [float(example_loss(tiny_llama, tiny_llama.model, [row])[0]) for row in rows]
    assert abs(losses[0] - losses[1]) > 1e-6


def test_a_right_candidate_above_the_others_costs_less() -> None:
    good, bad = torch.tensor([3.0, -2.0, -3.0]), torch.tensor([-3.0, 2.0, 3.0])
    assert comparison_loss(good, 0) < comparison_loss(torch.zeros(3), 0) < comparison_loss(bad, 0)
    assert comparison_loss(good, 0) == pytest.approx(float(comparison_loss(good.roll(1), 1)))
    # All alike is no better ordered at any level, but p has its level.
    assert comparison_loss(good + 4, 0) > comparison_loss(good, 0)
