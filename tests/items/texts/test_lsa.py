"""Latent semantic analysis, against the decomposition written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedlib.errors import InputError
from fedlib.items import LSA

TEXTS = ["a dog and a cat", "the cat and the mouse", "tape, glue and paint", "glue for the tape", "paint a dog"]


def weights() -> tuple[np.ndarray, list[str]]:
    """(1 + ln tf) (ln((1 + N) / (1 + df)) + 1) of each word, rows of length 1: scikit-learn's definition, by hand."""
    words = sorted({word for text in TEXTS for word in text.replace(",", "").split()})
    tf = np.array([[text.replace(",", "").split().count(word) for word in words] for text in TEXTS], dtype=float)
    idf = np.log((1 + len(TEXTS)) / (1 + (tf > 0).sum(0))) + 1
    told = np.where(tf > 0, 1 + np.log(np.maximum(tf, 1)), 0) * idf
    return told / np.linalg.norm(told, axis=1, keepdims=True), words


def test_vectors_are_the_texts_in_the_leading_right_singular_vectors() -> None:
    table, words = weights()
    _, _, right = np.linalg.svd(table, full_matrices=False)
    lsa = LSA(TEXTS, dim=3)
    want = torch.nn.functional.normalize(torch.from_numpy(table @ right[:3].T), dim=1)
    x = lsa.encode(TEXTS).double()
    torch.testing.assert_close(x @ x.T, want @ want.T, rtol=1e-4, atol=1e-5)  # axes may point either way
    query = np.zeros(len(words))
    query[words.index("glue")] = 1
    glue = torch.from_numpy(query @ right[:3].T)
    cosine = torch.nn.functional.cosine_similarity(glue, want)
    torch.testing.assert_close((lsa.encode(["Glue unheard-of"]).double() @ x.T)[0], cosine, rtol=1e-4, atol=1e-5)


def test_it_takes_as_many_dimensions_as_there_are() -> None:
    assert LSA(TEXTS).encode(TEXTS).shape == (5, 4)
    with pytest.raises(InputError, match="LSA cannot have 5 dimensions: 5 texts with 10 words allow 1 to 4"):
        LSA(TEXTS, dim=5).encode(TEXTS)


def test_a_text_of_unknown_words_and_texts_without_words_are_refused() -> None:
    with pytest.raises(InputError, match="LSA knows no word of 'quantum chromodynamics': use words of the catalogue"):
        LSA(TEXTS).encode(["a dog", "quantum chromodynamics"])
    with pytest.raises(InputError, match="have no word in them"):
        LSA(["?", "!"]).encode(["?"])


def test_two_fits_are_equal_and_others_have_another_identity() -> None:
    assert torch.equal(LSA(TEXTS, 3).encode(TEXTS), LSA(TEXTS, 3).encode(TEXTS))
    assert len({LSA(TEXTS, 3).identity(), LSA(TEXTS, 2).identity(), LSA(TEXTS[::-1], 3).identity()}) == 3
