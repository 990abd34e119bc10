"""The paper's score: p(yes) / (p(yes) + p(no)) of the first token after the yes/no prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmsrarec.backbone import Backbone, Prompt, Readout
from mmsrarec.rank.kept_probabilities import KeptProbabilities
from mmsrarec.retrieve import ItemView, PathEvidence, UserContext
from mmsrarec.storage import fingerprint
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
    kept
        Answers that were given before and are not asked for again; new ones are added as they come. ``None`` always
        asks.
    """

    def __init__(
        self,
        backbone: Backbone,
        view: ItemView,
        *,
        adapter: str | None,
        readout: Readout | None = None,
        kept: KeptProbabilities | None = None,
    ) -> None:
        self.backbone = backbone
        self.view = view
        self.adapter = adapter
        self.readout = readout
        self.kept = kept

    def keeping(self, kept: KeptProbabilities) -> MLLMRanker:
        """Return the same ranker with answers that are kept."""
        return MLLMRanker(self.backbone, self.view, adapter=self.adapter, readout=self.readout, kept=kept)

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides what is answered to a prompt: base weights, adapter and readout."""
        read = self.readout
        return fingerprint(
            self.backbone.fingerprint,
            None if self.adapter is None else self.backbone.adapter_weights(self.adapter),
            None if read is None else [read.direction, read.shift, read.layer],
        )

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
        flat = (
            self._ask(prompts, progress) if self.kept is None else self._ask_new(prompts, progress, self.kept)
        )
        ends = np.cumsum([len(items) for items in candidates])
        return [np.asarray(part, np.float32) for part in np.split(flat, ends[:-1])] if len(ends) else []

    def _ask(
        self,
        prompts: Sequence[Prompt],
        progress: str | None,
        answered: Callable[[Sequence[int], np.ndarray], None] | None = None,
    ) -> np.ndarray:
        with self.backbone.adapter(self.adapter):
            return self.backbone.first_token_probability(
                prompts, readout=self.readout, progress=progress, answered=answered
            )

    def _ask_new(
        self, prompts: Sequence[Prompt], progress: str | None, kept: KeptProbabilities
    ) -> np.ndarray:
        made_by = self.fingerprint
        keys = [_key(made_by, prompt) for prompt in prompts]
        new = kept.missing(keys)
        self._ask(
            [prompts[place] for place in new],
            progress,
            lambda places, found: kept.add([keys[new[place]] for place in places], found),
        )
        return kept.of(keys)


def _key(made_by: str, prompt: Prompt) -> str:
    content = [part if isinstance(part, str) else ["picture", part.key] for part in prompt.content]
    return fingerprint(made_by, prompt.system, content)
