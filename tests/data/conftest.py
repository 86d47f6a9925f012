import os
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cats_dogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents' own set: 529 training and 12 test photos, or a skip."""
    given = os.environ.get("TLKIT_TEST_DATA")
    if given and (Path(given) / "cats_dogs").is_dir():
        return Path(given) / "cats_dogs"
    archive = Path(__file__).parents[3] / "shared" / "data" / "cats_dogs.tar"
    if not archive.is_file():
        pytest.skip("cats_dogs is not here: set TLKIT_TEST_DATA to the folder that holds it")
    folder = tmp_path_factory.mktemp("data")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "cats_dogs"
