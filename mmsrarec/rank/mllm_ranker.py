"""The paper's score: p(yes) / (p(yes) + p(no)) of the first token after the yes/no prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsrarec.backbone import Backbone, Readout
from mmsrarec.retrieve import ItemView, PathEvidence, UserContext
from mmsrarec.tune import yes_no_prompt

__all__ = ["MLLMRanker"]


class MLLMRanker:
    """Probability that a candidate is the user's next item, by the tuned language model.

    Parameters
    ----------
    backbone
        Model that reads the prompts.
    view
        Words and pictures of the catalogue.
    adapter
        Name of the tuned adapter in `backbone`; ``None`` asks the bare model.
    readout
        Fitted with that adapter; ``None`` takes the words yes and no as they are.
    """

    def __init__(
        self, backbone: Backbone, view: ItemView, *, adapter: str | None, readout: Readout | None = None
    ) -> None:
        self.backbone = backbone
        self.view = view
        self.adapter = adapter
        self.readout = readout

    def probability(
        self,
        contexts: Sequence[UserContext],
        candidates: Sequence[np.ndarray],
        evidence: Sequence[Sequence[PathEvidence]] | None = None,
        *,
        progress: str | None = None,
    ) -> list[np.ndarray]:
        """Score candidates; those of one user share one run of the prompt's beginning.

        Parameters
        ----------
        contexts
            One a user.
        candidates
            Dense item ids of each user's candidates; any number, none included.
        evidence
            Paths to each candidate, aligned with `candidates`; ``None`` tells of none.
        progress
            Description to show while scoring; ``None`` shows nothing.

        Returns
        -------
        list of numpy.ndarray
            float32 probabilities in [0, 1], aligned with `candidates` (MMSRARec, stage 3).
        """
        if evidence is None:
            evidence = [[PathEvidence()] * len(items) for items in candidates]
        prompts = [
            yes_no_prompt(context, self.view, int(item), paths)
            for context, items, known in zip(contexts, candidates, evidence, strict=True)
            for item, paths in zip(items, known, strict=True)
        ]
        with self.backbone.adapter(self.adapter):
            flat = self.backbone.first_token_probability(prompts, readout=self.readout, progress=progress)
        ends = np.cumsum([len(items) for items in candidates])
        return [np.asarray(part, np.float32) for part in np.split(flat, ends[:-1])] if len(ends) else []
