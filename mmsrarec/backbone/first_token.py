"""Yes or no, from the first answer token: the paper's p, for many prompts at once.

Stands at the end of the scoring path; the room ``rank`` calls it. Of the output matrix only the rows that
spell the two words are used, and only at the last position of each prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmsrarec.backbone.batching import advancing
from mmsrarec.backbone.encoding import encode
from mmsrarec.backbone.prompt import Prompt
from mmsrarec.backbone.readout import Readout
from mmsrarec.backbone.shared_prefix import last_states
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["answer_log_odds", "first_token_probability", "hidden_states", "spellings"]

Answered = Callable[[Sequence[int], np.ndarray], None]

_WORD_STARTS = "\u0120\u2581 "  # how byte-level and SentencePiece vocabularies write a leading space


def spellings(tokenizer: Any, word: str, *, without: frozenset[int] = frozenset()) -> list[int]:
    """Find every single token that spells a word, whatever its case and leading space.

    Parameters
    ----------
    tokenizer
        The model's tokenizer.
    word
        For example ``"yes"``.
    without
        Ids that never count, such as control tokens.

    Returns
    -------
    list of int
        Sorted ids of tokens such as ``yes``, ``Yes``, ``YES`` and `` yes``; empty if there is none.

    Examples
    --------
    >>> from mmsrarec.testing.tiny_models import tiny_tokenizer
    >>> tokenizer = tiny_tokenizer()
    >>> sorted(tokenizer.decode([token]) for token in spellings(tokenizer, "yes"))
    [' Yes', ' yes', 'Yes', 'yes']
    """
    wanted = word.strip().casefold()
    found = {
        token_id
        for token, token_id in tokenizer.get_vocab().items()
        if token.lstrip(_WORD_STARTS).casefold() == wanted
    }
    for variant in (wanted, wanted.capitalize(), wanted.upper(), word.strip()):
        for text in (variant, f" {variant}"):
            ids = tokenizer.encode(text, add_special_tokens=False)
            if len(ids) == 1:
                found.add(ids[0])
    return sorted(found - without)


def answer_rows(backbone: Backbone, yes: str, no: str) -> tuple[list[int], list[int]]:
    """Token ids of the two answers' spellings, checked."""
    control = frozenset(backbone.chat.control.values())
    rows = []
    for name, word in (("yes", yes), ("no", no)):
        # A vocabulary of 150,000 tokens takes longer to look through than a small model takes to answer.
        if word not in backbone.spellings:
            found = spellings(backbone.tokenizer, word, without=control) if word.strip() else []
            backbone.spellings[word] = found
        if not backbone.spellings[word]:
            raise InputError(
                f"{name}={word!r} is no single token in the vocabulary of backbone {backbone.name!r}; "
                f"choose a short, common word, in the language the model was made for."
            )
        rows.append(backbone.spellings[word])
    if set(rows[0]) & set(rows[1]):
        raise InputError(f"yes={yes!r} and no={no!r} share a spelling; choose two different words.")
    return rows[0], rows[1]


def answer_log_odds(
    backbone: Backbone, *, yes: str = "yes", no: str = "no"
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from last hidden states (B, hidden) to log p(yes) - log p(no), float32 (B,).

    The probabilities of all spellings of a word are added up.
    """
    yes_rows, no_rows = answer_rows(backbone, yes, no)
    head = backbone.output_head().rows(yes_rows + no_rows)

    def log_odds(states: torch.Tensor) -> torch.Tensor:
        logits = head(states).float()  # (B, spellings of yes and of no)
        return logits[:, : len(yes_rows)].logsumexp(-1) - logits[:, len(yes_rows) :].logsumexp(-1)

    return log_odds


def first_token_probability(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    *,
    yes: str = "yes",
    no: str = "no",
    readout: Readout | None = None,
    share_prefix: bool = True,
    batch_tokens: int,
    progress: str | None = None,
    answered: Answered | None = None,
) -> np.ndarray:
    """See :meth:`mmsrarec.backbone.Backbone.first_token_probability`."""
    words = answer_log_odds(backbone, yes=yes, no=no)

    def probability(states: torch.Tensor) -> torch.Tensor:
        [read] = states.unbind(dim=1)  # (B, hidden)
        if readout is None:
            return torch.sigmoid(words(read))
        return torch.sigmoid(readout(read) + (words(read) if readout.layer is None else 0.0))

    layer = backbone.depth if readout is None or readout.layer is None else readout.layer
    return _over_last_states(
        backbone, prompts, [layer], probability, share_prefix, batch_tokens, progress, (), answered
    )


def hidden_states(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    *,
    layers: Sequence[int] | None = None,
    share_prefix: bool = True,
    batch_tokens: int,
    progress: str | None = None,
) -> np.ndarray:
    """See :meth:`mmsrarec.backbone.Backbone.hidden_states`."""
    chosen = [backbone.depth] if layers is None else list(layers)
    size = (len(chosen), backbone.hf.config.get_text_config().hidden_size)
    states = _over_last_states(
        backbone, prompts, chosen, torch.Tensor.float, share_prefix, batch_tokens, progress, size
    )
    return states[:, 0] if layers is None else states


@torch.no_grad()
def _over_last_states(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    reduce: Any,
    share_prefix: bool,
    batch_tokens: int,
    progress: str | None,
    size: tuple[int, ...],
    answered: Answered | None = None,
) -> np.ndarray:
    encoded = encode(backbone, prompts)
    if not encoded:
        return np.zeros((0, *size), dtype=np.float32)
    with advancing(progress, len(encoded)) as advance:

        def done(places: Sequence[int], rows: torch.Tensor) -> None:
            if answered is not None:
                answered(places, rows.numpy())
            advance(len(places))

        rows = last_states(
            backbone,
            encoded,
            layers=layers,
            share_prefix=share_prefix,
            batch_tokens=batch_tokens,
            reduce=reduce,
            done=done,
        )
    return torch.stack(rows).numpy().astype(np.float32)
