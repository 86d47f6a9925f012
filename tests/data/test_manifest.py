from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.data.manifest import Entry, read_manifest
from tlkit.errors import DataError


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "list.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_rows_as_people_write_them(tmp_path: Path) -> None:
    head = "\ufeffSplit, Path ,LABEL,note\n"
    text = "valid,a/1.jpg,NA,x\n,b\\2.jpg, 007 ,\nTEST,./c//3.jpg,고양이,\n"
    assert read_manifest(write(tmp_path, head + text)) == [
        Entry("a/1.jpg", "NA", "val"),
        Entry("b/2.jpg", "007", ""),
        Entry("c/3.jpg", "고양이", "test"),
    ]


def test_what_spreadsheets_and_scripts_write(tmp_path: Path) -> None:
    text = 'path;label;split\na/1.jpg;cat;testing\n"b,c.jpg";"dog;cat";\n'
    assert read_manifest(write(tmp_path, text), multi_label=True) == [
        Entry("a/1.jpg", "cat", "test"),
        Entry("b,c.jpg", "cat;dog", ""),
    ]
    text = f"path,label\n{tmp_path.absolute()}/a/1.jpg,cat\n"
    assert read_manifest(write(tmp_path, text)) == [Entry("a/1.jpg", "cat", "")]


def test_a_repeated_row_counts_once(tmp_path: Path) -> None:
    text = "path,label\n1.jpg,cat\n./1.jpg,cat\n"
    assert read_manifest(write(tmp_path, text)) == [Entry("1.jpg", "cat", "")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        ("path,label\n", "lists no images"),
        ("file,label\n1.jpg,cat\n", "no column 'path'; it has 'file', 'label'"),
        ("file;label\n1.jpg;cat\n", "no column 'path'; it has 'file', 'label'"),
        ("path,class\n1.jpg,cat\n", "no column 'label'"),
        ("path,label\n1.jpg,cat\n2.jpg,cat,3,4\n", "not a CSV table: .*line 3"),
        ("path,label\n1.jpg,\n", "line 2: the label of '1.jpg' is empty"),
        ("path,label\n1.jpg\n", "line 2: the label of '1.jpg' is empty"),
        ("path,label\n1.jpg,\n2.jpg,a;b\n", "give it one .or add --multi-label"),
        ("path,label\n,cat\n", "line 2: the path is empty"),
        (
            "path,label,split\n1.jpg,cat,tran\n",
            "line 2: unknown split 'tran'. Did you mean 'train'",
        ),
        (
            "path,label\n1.jpg,cat\n1.jpg,dog\n",
            "line 3: '1.jpg' .* twice, with the labels 'cat' and 'dog'",
        ),
        ("path,label,split\n1.jpg,c,val\n1.jpg,c,test\n", "the splits 'val' and 'test'"),
        ("path,label\n../1.jpg,cat\n", "points outside"),
        ("path,label\na/../../1.jpg,cat\n", "points outside"),
        ("path,label\n..\\1.jpg,cat\n", "points outside"),
        ("path,label\n/etc/passwd,cat\n", "points outside"),
        ("path,label\nC:\\1.jpg,cat\n", "points outside"),
        (b"path,label\n\xff\xfe.jpg,cat\n", "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "UTF-8|not a CSV|no column"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(write(tmp_path, text))
    assert "list.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: ("path,label\n" + t).encode()))
def test_any_file_is_a_manifest_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = write(tmp_path_factory.getbasetemp(), content)
    try:
        entries = read_manifest(file)
    except DataError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert entries
        assert not any(".." in Path(entry.path).parts for entry in entries)
