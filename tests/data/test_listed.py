"""Tables of paths and labels."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from rayxkd.cli import main
from rayxkd.data import open_image_set
from rayxkd.errors import UserError
from tests.data.builders import encoded_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images in no class folders."""
    (tmp_path / "images/deep").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png", "c.jpg", "deep/d e.png")):
        (tmp_path / "images" / name).write_bytes(encoded_image(seed))
    return tmp_path


def write(folder: Path, text: str, name: str = "list.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


TABLES = [
    "path,label\nimages/a.png,rose\nimages/b.png,daisy\nimages/deep/d e.png,rose\n",
    "images/a.png,rose\nimages/b.png,daisy\nimages/deep/d e.png,rose",
    "\ufeffid,Label,File\n7,rose,images/a.png\n"
    '8,daisy,"images/b.png"\n9,rose,./images/deep/d e.png\n',
    "image;class\nimages/a.png;rose\n\nimages/b.png;daisy\nimages/deep/d e.png;rose\n",
    "filename\tcategory\r\nimages/a.png\trose\r\n"
    "images/b.png\tdaisy\r\nimages\\deep\\d e.png\trose\r\n",
]


@pytest.mark.parametrize("text", TABLES)
def test_images_and_labels_are_those_of_the_table(text: str, folder: Path) -> None:
    images = open_image_set(write(folder, text, "list.tsv" if "\t" in text else "list.csv"))
    assert images.class_names == ("daisy", "rose")
    assert images.labels_N.tolist() == [1, 0, 1]
    assert images.read([2, 0, 0]) == [encoded_image(3), encoded_image(0), encoded_image(0)]


def test_absolute_paths_below_the_table_will_do(folder: Path) -> None:
    images = open_image_set(write(folder, f"path,label\n{folder}/images/a.png,x\n"))
    assert images.read([0]) == [encoded_image(0)]


def test_numbers_are_sorted_by_size(folder: Path) -> None:
    text = "images/a.png,10\nimages/b.png,9\nimages/c.jpg,100\n"
    assert open_image_set(write(folder, text)).class_names == ("9", "10", "100")


def test_labels_are_not_needed_where_none_are_asked_for(folder: Path) -> None:
    address = write(folder, "path\nimages/a.png\nimages/b.png\n")
    assert open_image_set(address, labelled=False).class_names == ()
    with pytest.raises(UserError, match="has no column of labels"):
        open_image_set(address)


def test_a_selection_chooses_from_it(folder: Path) -> None:
    images = open_image_set(write(folder, TABLES[0]) + "#classes=rose&per_class=1")
    assert (images.class_names, len(images)) == (("rose",), 1)


def test_a_missing_image_is_missing(folder: Path) -> None:
    images = open_image_set(write(folder, "images/z.png,x\nimages/a.png,x\n"))
    assert images.read([0, 1]) == [None, encoded_image(0)]


def test_it_may_lie_anywhere(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/listed/list.csv", TABLES[0].encode())
    memory.put(str(folder / "images"), "/listed/images", recursive=True)
    images = open_image_set("memory://listed/list.csv")
    assert images.read([1, 2]) == [encoded_image(1), encoded_image(3)]
    memory.rm("/listed", recursive=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("path,label\n", "names no images"),
        ("name,label\nx,y\n", "has no column of paths"),
        ("path,label\n../a.png,x\n", "not below the table's own folder"),
        ("path,label\n/etc/passwd,x\n", "not below the table's own folder"),
        ("path,label\nimages/../../a.png,x\n", "not below the table's own folder"),
        ("path,label\nhttp://host/a.png,x\n", "not below the table's own folder"),
        ("path,label\n,x\n", "not below the table's own folder"),
        ("path,label\nimages/a.png,x\nimages/b.png,\n", "image 2 has no label"),
        ("path,label\nimages/a.png,x\nimages/b.png\n", "line 3 has fewer columns"),
        ("path,label\nimages/a.png,x\x00\n" + '"' + "x" * 200_000, "is no table"),
    ],
)
def test_a_table_that_is_wrong_says_how(text: str, words: str, folder: Path) -> None:
    with pytest.raises(UserError) as error:
        open_image_set(write(folder, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_scan_takes_it_as_a_probe_set(
    folder: Path, trained_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"images/a.png,{label}\nimages/b.png,{label}\nimages/c.jpg,{label}" for label in ("x", "y")
    ]
    address = write(folder, "path,label\n" + "\n".join(rows))
    arguments = {
        "--repository": str(trained_digits),
        "--probe": address,
        "--out": str(tmp_path / "out"),
        "--workers": "0",
    }
    with pytest.raises(SystemExit) as ended:
        main(["assess", *(part for pair in arguments.items() for part in pair)])
    assert ended.value.code == 0, capsys.readouterr().err
