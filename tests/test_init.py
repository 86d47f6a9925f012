import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tlkit


def test_every_public_name_can_be_had() -> None:
    for name in tlkit.__all__:
        assert getattr(tlkit, name) is not None
    with pytest.raises(AttributeError):
        _ = tlkit.nothing


def test_the_type_checker_sees_the_same_names() -> None:
    source = importlib.util.find_spec("tlkit").origin  # type: ignore[union-attr]
    text = Path(source).read_text()
    for name in tlkit.__all__:
        assert f"import {name} as {name}" in text


@pytest.mark.parametrize(
    "code",
    [
        "import tlkit, tlkit.cli",
        "from tlkit.cli import app; app(['--help'], standalone_mode=False)",
        "from tlkit.cli import app; app(['backbones'], standalone_mode=False)",
        "import tlkit.report, tlkit.data.folder, tlkit.data.split, tlkit.pipeline, tlkit.recipe",
    ],
)
def test_light_commands_do_not_import_a_framework(code: str) -> None:
    heavy = "{'tensorflow', 'keras', 'jax', 'torch'}"
    check = f"{code}\nimport sys\nassert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)


def test_help_does_not_even_import_pandas() -> None:
    code = (
        "import sys; from tlkit.cli import app; app(['--help'], standalone_mode=False); "
        "assert not {'pandas', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
