"""The sequence model: what a history of item ids says about the next one.

Stage 2 of the method stands on it: ``SimilarUsers`` compares its user representations, the blend and
full-catalogue ``recommend`` use its scores. :class:`SequenceModel` is the whole public face;
``networks`` holds SASRec and GRU4Rec, ``windows`` cuts histories into batches, ``training`` is the loop.
"""

from mmsrarec.retrieve.sequence_model.model import SequenceModel

__all__ = ["SequenceModel"]
