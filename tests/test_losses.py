from pathlib import Path

import numpy as np
import pytest

from tlkit.errors import DataError
from tlkit.losses import class_weights


def test_class_weights(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 1])
    assert class_weights("none", ("a", "b"), labels) is None
    assert class_weights("auto", ("a", "b"), labels) == {0: 4 / 6, 1: 2.0}
    file = tmp_path / "w.csv"
    file.write_text("class,weight\nb,2\na,1\n")
    assert class_weights(str(file), ("a", "b"), labels) == {0: 1.0, 1: 2.0}
    file.write_text("class,weight\nb,2\n")
    with pytest.raises(DataError, match="'a'"):
        class_weights(str(file), ("a", "b"), labels)
    file.write_text("name\nb\n")
    with pytest.raises(DataError, match="class,weight"):
        class_weights(str(file), ("a", "b"), labels)


@pytest.mark.parametrize(
    ("rows", "says"), [("=a,1\n=a,2\nb,1", "two rows for '=a'"), ("'=a,inf\nb,1", "'=a'")]
)
def test_weights_that_say_two_things_or_too_much(rows: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.csv"
    file.write_text(f"class,weight\n{rows}\n")
    with pytest.raises(DataError, match=says):
        class_weights(str(file), ("=a", "b"), np.array([0, 1]))
