"""Trains the projector that comes with the package: ``python -m mmsrarec.backbone.embedded.train_projector``.

Stands outside of the flow; run once, by the developers. The pictures are generated
(:func:`mmsrarec.data.make_catalogue`), so nothing of anyone's is in the weights; the captions name what only
the picture shows, colour, pattern and shape, and the kind of product.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mmsrarec.backbone import Backbone
from mmsrarec.backbone.align import AlignResult, align
from mmsrarec.backbone.embedded.assembly import PROJECTOR_FILE, load_embedded
from mmsrarec.backbone.projection import image_features, projector_of
from mmsrarec.data import ItemContent, catalogue_facts, make_catalogue
from mmsrarec.progress import console
from mmsrarec.storage import atomic_path

__all__ = ["generated_captions", "main", "standardize", "train"]

# Not the seed of any test or demo: those shops hold other pictures.
SEED = 20_000
ITEMS = 1200
EPOCHS = 2
LEARNING_RATE = 1e-3
# Tower features of so many pictures give mean and deviation.
PROBED = 256
# Scale of a projected picture token at the start, as a share of that of a word's embedding.
START_SCALE = 0.5


def generated_captions(items: int, seed: int) -> list[str]:
    """Write one caption a product of the generated shop, in the form of keywords.

    Examples
    --------
    >>> generated_captions(1, 0)
    ['red, plain, shirt, long sleeves']
    """
    facts = catalogue_facts(items, seed)
    return [
        f"{fact['colour']}, {fact['pattern']}, {fact['kind']}, {fact['shape']}"
        for fact in facts.iter_rows(named=True)
    ]


@torch.no_grad()
def standardize(backbone: Backbone, contents: Sequence[ItemContent], seed: int) -> None:
    """Give the projector a start that is drawn at random but fits its inputs and outputs.

    The first layer sees features of mean 0 and deviation 1 (both folded into its weights), the last writes
    around the mean word embedding. From there the loss falls in tens of steps instead of hundreds.
    """
    projector = projector_of(backbone)
    pictures = [content.picture for content in contents[:PROBED] if content.picture is not None]
    features = image_features(backbone, pictures, progress="reading pictures").flatten(
        0, 1
    )  # (tokens, width)
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-2)
    words = backbone.inner.get_input_embeddings().weight  # (vocabulary, hidden)
    generator = torch.Generator().manual_seed(seed)
    first, last = (layer for layer in projector.modules() if isinstance(layer, nn.Linear))
    for layer in (first, last):
        nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features), generator=generator)
    first.weight.div_(deviation)
    first.bias.copy_(-first.weight @ mean)
    last.weight.mul_(START_SCALE * float(words.std()))
    last.bias.copy_(words.mean(0))


def train(
    items: int = ITEMS, epochs: int = EPOCHS, seed: int = SEED, workdir: str | Path | None = None
) -> tuple[Backbone, AlignResult]:
    """Train a projector on a generated shop.

    Parameters
    ----------
    items, epochs, seed
        Size of the shop, passes over it, and the seed of everything.
    workdir
        Where an interrupted training goes on from.

    Returns
    -------
    Backbone
        The embedded backbone with the trained projector.
    AlignResult
        Its losses.
    """
    model, processor = load_embedded(projector=False)
    backbone = Backbone.load((model, processor))
    shop = make_catalogue(items, 2, seed)
    contents = [shop.item_content(item) for item in range(shop.n_items)]
    standardize(backbone, contents, seed)
    result = align(
        backbone,
        contents,
        captions=generated_captions(items, seed),
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        seed=seed,
        workdir=workdir,
    )
    return backbone, result


def main() -> None:
    """Train, write the projector in float16, and say how well captions of unseen pictures are predicted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name(PROJECTOR_FILE))
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--workdir", type=Path, default=Path(tempfile.gettempdir()) / "mmsrarec-projector")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    backbone, result = train(chosen.items, chosen.epochs, workdir=chosen.workdir)
    state = {name: tensor.half().contiguous() for name, tensor in projector_of(backbone).state_dict().items()}
    with atomic_path(chosen.output) as path:
        save_file(state, path, metadata={"format": "pt"})
    console.print(
        f"held-out NLL a token: {result.held_out_after:.3f} with the right picture, "
        f"{result.held_out_other:.3f} with another's, {result.held_out_before:.3f} before training "
        f"({result.n_held_out} pictures)",
        highlight=False,
    )


if __name__ == "__main__":
    main()
