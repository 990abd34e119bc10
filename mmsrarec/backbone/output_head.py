"""The model's output matrix, and what else its architecture does to logits.

Used by ``first_token``, which needs a few rows of it, and by ``likelihood``, which hands it to the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from mmsrarec.backbone.forward import hidden_of_whole
from mmsrarec.backbone.prompt import Prompt
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["OutputHead"]


@dataclass(frozen=True, eq=False)
class OutputHead:
    """How hidden states become logits: ``cap(scale * (hidden @ weight.T + bias))``.

    Parameters
    ----------
    module
        The output layer; an adapter may have wrapped it.
    scale
        Factor on the logits.
    softcap
        If given, logits are ``softcap * tanh(logits / softcap)``.
    """

    module: nn.Module
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> OutputHead:
        """Read the head and the factors that transformers' architectures put on logits."""
        module = model.get_output_embeddings()
        if module is None:
            raise InputError(
                f"backbone of type {type(model).__name__} has no output matrix; use a causal model."
            )
        config: Any = model.config.get_text_config()
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        softcap = getattr(config, "final_logit_softcapping", None)
        return cls(module, scale, float(softcap) if softcap else None)

    def check(self, backbone: Backbone) -> None:
        """Compare with the model's own logits on a few tokens.

        Raises
        ------
        InputError
            If they differ: the architecture does something to its logits that is not known here.
        """
        encoded = backbone.encode([Prompt(("yes",))])
        inputs = {name: value.to(backbone.device) for name, value in backbone.collate(encoded).items()}
        with torch.no_grad():
            own = backbone.hf(**inputs).logits[0, -1].float()  # (vocabulary,)
            probe = list(range(0, own.shape[0], max(1, own.shape[0] // 64)))
            ours = self.rows(probe)(hidden_of_whole(backbone, encoded)[0, -1])
        largest = float((own[probe] - ours).abs().max())
        allowed = 1e-3 if backbone.dtype == torch.float32 else 0.05 * float(own.abs().max())
        if not largest <= allowed:
            raise InputError(
                f"backbone of type {type(backbone.hf).__name__} computes its logits in a way that is not known here "
                f"(off by {largest:.3g}); choose another model."
            )

    @property
    def weight(self) -> torch.Tensor:
        """The output matrix, shape (vocabulary, hidden)."""
        if type(self.module) is not nn.Linear or self.module.bias is not None:
            raise InputError(
                "mean_nll needs an output layer that is one matrix; leave it out of the LoRA targets."
            )
        return self.module.weight

    def scaled(self, states: torch.Tensor) -> torch.Tensor:
        """Hidden states with the factor on logits already in them."""
        return states if self.scale == 1.0 else states * self.scale

    def rows(self, token_ids: Sequence[int]) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function from hidden states (..., hidden) to the logits of these tokens only."""
        index = torch.tensor(token_ids, device=next(self.module.parameters()).device)
        if type(self.module) is nn.Linear:
            weight = self.module.weight[index].float()  # (tokens, hidden)
            bias = None if self.module.bias is None else self.module.bias[index].float()

            def raw(states: torch.Tensor) -> torch.Tensor:
                return nn.functional.linear(states.float(), weight, bias)
        else:

            def raw(states: torch.Tensor) -> torch.Tensor:
                return self.module(states)[..., index].float()

        def logits(states: torch.Tensor) -> torch.Tensor:
            values = raw(states) * self.scale
            return values if self.softcap is None else self.softcap * torch.tanh(values / self.softcap)

        return logits
