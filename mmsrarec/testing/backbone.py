"""The contract of a backbone, as tests that anyone's model can be held to.

Inherit :class:`BackboneTests` in a test module and give it a fixture ``backbone``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import torch
from peft import LoraConfig

from mmsrarec.backbone.prompt import Prompt
from mmsrarec.testing.tiny_models import TinyPicture

if TYPE_CHECKING:
    from pathlib import Path

    from mmsrarec.backbone.backbone import Backbone

__all__ = ["BackboneTests"]

RED = TinyPicture((220, 30, 40), (96, 96))
GREEN = TinyPicture((30, 200, 60), (150, 90))
BLUE = TinyPicture((40, 50, 230), (80, 170))


def candidates(history: str, *pictures: TinyPicture) -> list[Prompt]:
    """Prompts of one user that differ in the candidate only, the last one without a picture."""
    told = f"She bought: {history}. Is the next one for her? Answer yes or no.\n"
    named = [Prompt((told, RED, f"\nCandidate {place}: ", picture)) for place, picture in enumerate(pictures)]
    return [*named, Prompt((told, RED, "\nCandidate: a lamp"))]


class BackboneTests:
    """What every backbone keeps: inherit it, and give a fixture ``backbone`` in float32.

    Examples
    --------
    >>> class TestMine(BackboneTests):
    ...     pass  # with a fixture that returns Backbone.load(...)
    """

    tolerance = 1e-5

    @staticmethod
    def prompts() -> list[Prompt]:
        """Two users' candidates and a prompt that shares nothing, with and without pictures."""
        knitwear = candidates("a cosy knit scarf, red wool socks, a warm blanket", GREEN, BLUE, RED)
        lamps = candidates("a steel bottle, a tent for two", BLUE)
        return [*knitwear, *lamps, Prompt(("Do you like tea?",), system="Be brief.")]

    def test_ids_are_those_of_the_models_own_processor(self, backbone: Backbone) -> None:
        """Token ids and pixels are what the processor gives for the rendered text and the pictures."""
        for prompt in self.prompts():
            prompt = backbone.without_pictures(prompt)
            text = backbone.chat.render(prompt)
            if not backbone.has_images:
                expected = backbone.tokenizer(text, add_special_tokens=False, return_tensors="pt")
            else:
                images = [[picture.load() for picture in prompt.pictures]] if prompt.pictures else None
                starts = backbone.tokenizer.bos_token is not None and text.startswith(
                    backbone.tokenizer.bos_token
                )
                expected = backbone.processor(
                    text=[text], images=images, add_special_tokens=not starts, return_tensors="pt"
                )
            made = backbone.collate(backbone.encode([prompt]))
            assert torch.equal(made["input_ids"], expected["input_ids"])
            for name in ("pixel_values", "image_grid_thw", "pixel_attention_mask"):
                if name in expected:
                    assert torch.equal(made[name].float(), expected[name].float()), name

    def test_item_text_never_becomes_a_control_token(self, backbone: Backbone) -> None:
        """No special token or placeholder comes out of text, however it is nested."""
        control = set(backbone.chat.control.values())

        def control_ids(text: str) -> list[int]:
            ids = backbone.encode([Prompt((text, RED, text), system=text)])[0].input_ids.tolist()
            return [token for token in ids if token in control]

        expected = control_ids("plain")
        for token in backbone.chat.control:
            for hostile in (token, token * 2, token[:1] + token + token[1:], f"a{token}b"):
                assert control_ids(hostile) == expected, hostile

    def test_text_is_what_remains_of_neutralized_text(self, backbone: Backbone) -> None:
        """Neutralizing adds white space to control strings, and nothing to other text."""
        for token in backbone.chat.control:
            assert re.sub(r"\s", "", backbone.chat.neutralize(f"a {token} b")) == re.sub(
                r"\s", "", f"a{token}b"
            )
        assert (
            backbone.chat.neutralize("ordinary <b>text</b> | of an item")
            == "ordinary <b>text</b> | of an item"
        )

    def test_labels_cover_the_answer_and_its_end(self, backbone: Backbone) -> None:
        """Labels are the answer's tokens and the end of turn, nothing of the prompt."""
        encoded = backbone.encode(self.prompts()[:2], ["yes", "no, she would not"])
        batch = backbone.collate(encoded)
        for one, labels in zip(encoded, batch["labels"], strict=True):
            kept = labels[labels != -100]
            assert torch.equal(kept, one.input_ids[one.answer_start :])
            assert kept[-1] == backbone.chat.end_of_turn
        assert backbone.tokenizer.decode(kept[:-1]).strip() == "no, she would not"

    def test_scores_are_those_of_the_models_own_forward_pass(self, backbone: Backbone) -> None:
        """The score is the paper's p, computed from the model's full logits."""
        prompts = self.prompts()
        scores = backbone.first_token_probability(prompts, share_prefix=False)
        yes, no = (self._spelled(backbone, word) for word in ("yes", "no"))
        for prompt, score in zip(prompts, scores, strict=True):
            batch = backbone.collate(backbone.encode([prompt]))
            batch = {name: value.to(backbone.device) for name, value in batch.items()}
            with torch.no_grad():
                probabilities = backbone.hf(**batch).logits[0, -1].float().softmax(-1)
            expected = probabilities[yes].sum() / (probabilities[yes].sum() + probabilities[no].sum())
            assert abs(float(expected) - float(score)) < self.tolerance

    def test_shared_prefix_scores_as_one_by_one(self, backbone: Backbone) -> None:
        """Batches, budgets and shared prefixes change no score by more than the tolerance."""
        prompts = self.prompts()
        alone = np.concatenate([backbone.first_token_probability([prompt]) for prompt in prompts])
        for batch_tokens in (None, 1):
            for share_prefix in (True, False):
                together = backbone.first_token_probability(
                    prompts, share_prefix=share_prefix, batch_tokens=batch_tokens
                )
                np.testing.assert_allclose(together, alone, rtol=0, atol=self.tolerance)
        assert ((alone > 0) & (alone < 1)).all()

    def test_states_of_any_layer_are_the_models_own(self, backbone: Backbone) -> None:
        """States are transformers' ``hidden_states`` of the same number, read together or one alone."""
        prompts = [backbone.without_pictures(prompt) for prompt in self.prompts()]
        layers = [max(1, backbone.depth * 3 // 5), backbone.depth]
        own = []
        for prompt in prompts:
            batch = backbone.collate(backbone.encode([prompt]))
            batch = {name: value.to(backbone.device) for name, value in batch.items()}
            with torch.no_grad():
                states = backbone.hf(**batch, output_hidden_states=True).hidden_states
            own.append([states[layer][0, -1].float().cpu().numpy() for layer in layers])
        expected = np.array(own)  # (prompts, layers, hidden)
        assert np.abs(expected[:, 0] - expected[:, 1]).max() > 0.01
        allowed = self.tolerance * max(1.0, float(np.abs(expected).max()))
        for share_prefix in (True, False):
            for chosen in (layers, layers[:1]):
                made = backbone.hidden_states(prompts, layers=chosen, share_prefix=share_prefix)
                np.testing.assert_allclose(made, expected[:, : len(chosen)], rtol=0, atol=allowed)

    def test_batched_answers_are_those_of_one_by_one(self, backbone: Backbone) -> None:
        """Greedy answers do not depend on the batch."""
        prompts = self.prompts()
        alone = [backbone.generate([prompt], max_new_tokens=6)[0] for prompt in prompts]
        assert backbone.generate(prompts, max_new_tokens=6) == alone

    def test_drawn_answers_repeat_with_the_seed(self, backbone: Backbone) -> None:
        """Same seed, same draws."""
        prompts = self.prompts()
        first, again, other = (
            backbone.generate(prompts, max_new_tokens=6, temperature=2.0, seed=seed) for seed in (0, 0, 1)
        )
        assert first == again
        assert first != other

    def test_adapters_leave_the_base_model_as_it_was(self, backbone: Backbone, tmp_path: Path) -> None:
        """An adapter acts inside its block only, survives saving, and comes off without a trace."""
        prompts = self.prompts()
        identity, before = backbone.fingerprint, backbone.first_token_probability(prompts)
        config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        backbone.add_adapter("first", config)
        try:
            np.testing.assert_array_equal(backbone.first_token_probability(prompts), before)
            with backbone.adapter("first"):
                changed = backbone.first_token_probability(prompts)
                with backbone.adapter(None):
                    np.testing.assert_array_equal(backbone.first_token_probability(prompts), before)
            assert np.abs(changed - before).max() > 1e-4
            backbone.save_adapter("first", tmp_path / "adapter")
            backbone.load_adapter("second", tmp_path / "adapter")
            with backbone.adapter("second"):
                np.testing.assert_array_equal(backbone.first_token_probability(prompts), changed)
            assert backbone.fingerprint == identity
        finally:
            for name in backbone.adapters:
                backbone.remove_adapter(name)
        np.testing.assert_array_equal(backbone.first_token_probability(prompts), before)
        assert backbone.fingerprint == identity

    def test_nll_is_that_of_the_models_own_logits(self, backbone: Backbone) -> None:
        """The mean NLL is that of the full logits at the target's tokens."""
        prompts = self.prompts()[:3]
        targets = ["a warm scarf", "yes", "red wool, cosy"]
        made = backbone.mean_nll(prompts, targets)
        for prompt, target, nll in zip(prompts, targets, made, strict=True):
            encoded = backbone.encode([prompt], [target])[0]
            batch = backbone.collate([encoded])
            batch = {name: value.to(backbone.device) for name, value in batch.items() if name != "labels"}
            with torch.no_grad():
                logs = backbone.hf(**batch).logits[0].float().log_softmax(-1)
            places = range(encoded.answer_start, len(encoded) - 1)
            expected = -np.mean([float(logs[place - 1, encoded.input_ids[place]]) for place in places])
            assert abs(expected - nll) < 100 * self.tolerance

    @staticmethod
    def _spelled(backbone: Backbone, word: str) -> list[int]:
        control = set(backbone.chat.control.values())
        return [
            token
            for token in range(len(backbone.tokenizer))
            if token not in control and backbone.tokenizer.decode([token]).strip().lower() == word
        ]
