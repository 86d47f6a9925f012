"""Coverage-guided fuzzing by atheris (pip install -e '.[fuzz]'), for as long as one likes:

    python tests/fuzz.py image -max_total_time=300
    python tests/fuzz.py pth   -max_total_time=300

Whatever is no DataError or WeightsError of one line ends it, and libFuzzer keeps the input.
Arguments after the target are libFuzzer's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["tlkit", "PIL", "pickletools", "zipfile"]):
    from tlkit.backbones._torch_file import read_torch_file
    from tlkit.data.images import check_image, read_image
    from tlkit.errors import DataError, WeightsError

for folder in ("data", "backbones"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
import rubbish  # noqa: E402
import torch_writer  # noqa: E402

file = Path(tempfile.mkdtemp()) / "net.pth"


def image(data: bytes) -> None:
    """What passes the check can be read, and is what the check said."""
    try:
        info = check_image(data)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert read_image(data).shape == (info.height, info.width, 3)


def pth(data: bytes) -> None:
    """Nothing but arrays comes out, and never more bytes than went in (bfloat16 doubles)."""
    file.write_bytes(data)
    try:
        arrays = read_torch_file(file)
    except WeightsError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert all(type(array) is np.ndarray for array in arrays.values())


def seeds(target: str) -> list[bytes]:
    """Sound files to begin from."""
    if target == "image":
        return list(rubbish.sources().values())
    state = {"conv.weight": np.ones((2, 3, 1, 1), np.float32), "n": np.array(7, np.int64)}
    found = []
    for save in (torch_writer.save_legacy, torch_writer.save_zip):
        for protocol in (2, 4):
            found.append(save(file, torch_writer.tensors(state), protocol).read_bytes())
    return found


def main() -> None:
    """Fuzz the target that the first argument names."""
    targets: dict[str, Callable[[bytes], None]] = {"image": image, "pth": pth}
    program, target, *arguments = sys.argv
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        for number, data in enumerate(seeds(target)):
            (Path(folder) / str(number)).write_bytes(data)
        with contextlib.redirect_stdout(nowhere):
            atheris.Setup([program, *arguments, "-timeout=20", "-close_fd_mask=2", folder],
                          targets[target])  # fmt: skip
        atheris.Fuzz()


if __name__ == "__main__":
    main()
