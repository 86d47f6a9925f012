"""What reaches the terminal, the log and the shell: no libraries' chatter, one line, a code."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import make_pictures
from tlkit import cli
from tlkit.errors import TlkitError
from tlkit.interrupts import Terminated

CHATTER = re.compile(rb"oneDNN|cuda|cuInit|[EWI]0000 |absl::|Corrupt JPEG|Premature|cpu_feature")


def command(work: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "tlkit.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, cwd=work)


def complain_of(file: Path) -> None:
    """Put bytes between a JPEG's segments."""
    data = bytearray(file.read_bytes())
    scan = data.rindex(b"\xff\xda")
    data[scan:scan] = b"\0\0\0"
    file.write_bytes(data)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that libjpeg complains about, though they can be seen."""
    folder = make_pictures(tmp_path_factory.mktemp("noisy") / "data", 6, (36, 36))
    for file in folder.rglob("*.jpg"):
        complain_of(file)
    return folder


def test_libraries_talk_on_request_only(noisy: Path, tmp_path: Path) -> None:
    """That they talk to log.txt meanwhile is part of tests/test_hostile_names.py."""
    for flags, heard in (((), False), (("--verbose",), True)):
        done = command(tmp_path, *flags, "finetune", "--data", noisy, "--dry-run")
        assert done.returncode == 0
        assert bool(CHATTER.search(done.stderr)) == heard, done.stderr


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (lambda: (_ for _ in ()).throw(TlkitError("no such thing;\ntake another")), 2),
        (lambda: (_ for _ in ()).throw(cli.UsageError("no such option")), 2),
        (lambda: (_ for _ in ()).throw(KeyboardInterrupt), 130),
        (lambda: (_ for _ in ()).throw(Terminated(143)), 143),
    ],
)
def test_each_end_has_its_code_and_the_readme_names_it(
    ends, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(standalone_mode: bool) -> int | None:
        end = ends()
        return end if end is None or isinstance(end, int) else next(end)

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as leave:
        cli.main()
    assert int(leave.value.code or 0) == code
    assert capsys.readouterr().err.count("\n") == (code >= 2)
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (listed,) = re.findall(r"Exit codes: (.*?)Any other", readme, re.S)
    assert str(code) in re.findall(r"\d+", listed)


@pytest.mark.parametrize("arguments", [[], ["data"], ["weights"], ["cache"]])
def test_a_bare_command_shows_its_help_as_lines(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tlkit", *arguments])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    shown = capsys.readouterr()
    assert not leave.value.code
    assert shown.err == ""
    assert shown.out.count("\n") > 5
    assert "Usage: " in shown.out


@pytest.mark.parametrize("verbose", [False, True])
def test_how_a_network_is_computed_is_said_on_request_only(verbose: bool, tmp_path: Path) -> None:
    code = (
        f"import logging; from tlkit import cli; cli._show_log({verbose});"
        "logging.getLogger('tlkit.engines').info('engine'); logging.getLogger('tlkit.x').info('x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr.split() == [b"engine"] * verbose + [b"x"]


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "고양이 ✓\n"), ("cp1252", "\\uace0\\uc591\\uc774 \\u2713\n")]
)
def test_a_terminal_without_the_characters_is_no_traceback(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(cli, "app", lambda standalone_mode: print("고양이 ✓"))
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit):
        cli.main()
    terminal.flush()
    assert terminal.buffer.getvalue().decode(encoding) == shown  # type: ignore[attr-defined]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(standalone_mode: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(ZeroDivisionError):
        cli.main()
