"""Several labels as one text and as numbers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import labels

CLASSES = ["cat", "dog", "fox"]
sets = st.sets(st.sampled_from(CLASSES))


@given(sets)
def test_text_and_numbers_say_the_same(names):
    cell = labels.join_labels(names)
    assert labels.split_labels(cell) == tuple(sorted(names))
    hot = labels.multi_hot([cell], CLASSES)
    assert labels.answers(hot, CLASSES) == [cell]
    assert labels.loss(hot, hot)[0] == pytest.approx(0)


def test_spaces_order_and_repetition_do_not_matter():
    assert labels.split_labels(" dog ;cat;; dog") == ("cat", "dog")
    assert labels.split_labels("") == ()


def test_an_answer_is_as_sure_as_all_its_classes_together():
    p = np.array([[0.9, 0.2, 0.5]])
    assert labels.answers(p, CLASSES) == ["cat;fox"]
    assert labels.confidence(p)[0] == pytest.approx(0.9 * 0.8 * 0.5)
    truth = labels.multi_hot(["cat;fox"], CLASSES)
    assert labels.loss(p, truth)[0] == pytest.approx(-np.log(0.9 * 0.8 * 0.5))
    assert np.isfinite(labels.loss(np.zeros((1, 3)), truth)[0])


def test_images_are_drawn_by_their_rarest_label():
    cells = pd.Series(["cat"] * 6 + ["cat;dog"] * 3 + ["cat;fox"] + [""] * 2)
    alone = pd.Series(range(len(cells)))
    found = labels.strata(cells, alone, least=2)
    assert found.tolist() == ["cat"] * 6 + ["dog"] * 3 + [""] * 3, "one fox cannot be on two sides"
    copies = alone.where(alone > 1, 9)  # the fox and two cats are copies
    assert labels.strata(cells, copies, 2)[[0, 1, 9]].nunique() == 1
