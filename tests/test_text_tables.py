"""Tables whose cells stay text, and the lists of pairs that are read from them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from harness.tasks.datasets.pair_lists import read_pairs
from harness.tasks.datasets.text_tables import read_cells, read_headings, read_text_table
from pyarrow import parquet

from harness.errors import DamagedFileError

TEXT = 'id,gene,dose\n001,NA,1.0\n002,"a,\nb",\n'


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.txt", "t.parquet", "mark.csv"])
def test_cells_are_the_letters_of_the_file(name: str, tmp_path: Path) -> None:
    """Leading zeros, NA, commas and line breaks in quotes stay; an absent cell is empty; columns come as asked for."""
    path, columns = tmp_path / name, {"id": ["001", "002"], "gene": ["NA", "a,\nb"], "dose": ["1.0", None]}
    if name.endswith("parquet"):
        parquet.write_table(pa.table(columns), path)
    else:
        text = 'id\tgene\tdose\n001\tNA\t1.0\n002\t"a,\nb"\t\n' if name.endswith("tsv") else TEXT
        content = text.encode("utf-8-sig" if name.startswith("mark") else "utf-8")
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert read_headings(path) == ["id", "gene", "dose"]
    found = read_text_table(path, ["dose", "id", "gene"])
    assert found.to_pydict() == {"dose": ["1.0", ""], "id": ["001", "002"], "gene": ["NA", "a,\nb"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a readable table"),
        ("id,gene\n", "no rows"),
        ("id,gene\na\n", "not a readable table .*Expected 2 columns, got 1"),
        ("id,gene,gene\na,b,c\n", "1 headings stand twice: gene"),
        ("id,genes\na,b\n", "missing columns: gene; found genes"),
        ("x,y\na,b\n", "missing columns: id, gene; found x, y"),
    ],
)
def test_damaged_tables_are_named(text: str, words: str, tmp_path: Path) -> None:
    """The message starts with the path."""
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DamagedFileError, match=rf"^{path}: {words}"):
        read_text_table(path, ["id", "gene"])


def test_headings_that_nobody_reads_may_repeat(tmp_path: Path) -> None:
    """A heading that stands twice matters only where it is asked for."""
    path = tmp_path / "t.csv"
    path.write_text("id,gene,gene\na,b,c\n")
    assert read_cells(path, ["id"]).to_pydict() == {"id": ["a"]}


def test_pairs_count_once_and_in_no_direction(tmp_path: Path) -> None:
    """Both directions are one pair, in alphabetical order; pairs of one thing with itself are counted and left out."""
    path = tmp_path / "pairs.txt"
    path.write_text("entity2,more,entity1\nB,1,A\nA,2,B\nNA,3,A\nA,4,A\n")
    found = read_pairs(path, "Mine", "CC0-1.0")
    assert (found.pairs, found.n_rows, found.n_self) == ((("A", "B"), ("A", "NA")), 4, 1)
    assert (found.source, found.licence) == ("Mine", "CC0-1.0")
