"""Files of the leaderboard: golden ones, schemas, reading folders, checking what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import toy
from harness.leaderboard import harness_merge
from harness.leaderboard.board_file import dump_board, load_board, write_board
from harness.leaderboard.check import check_board, check_results
from harness.leaderboard.merge import merge
from harness.leaderboard.read import LoadedResult, read_results
from result_factory import make_block, make_reported, make_result, write_result

from harness.board import Leaderboard
from harness.errors import CannotWriteError, DamagedFileError, MissingDataError
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.results import Result, UnitsFile, dump_result, load_result
from harness.runner import run
from harness.summary import summarise
from harness.writing import units_table

GOLDEN = Path(__file__).parent / "golden"
COMPANION = make_block([[[0.1, 0.3], [0.2, 0.5]]], weight=[1.0, 2.0, 1.0, 2.0], cluster=["m00", "m01"] * 2)


def golden_results() -> list[Result]:
    """Make the results behind the golden files."""
    common = {"chance": 0.25, "task": "golden"}
    block = make_block([[[0.5, 0.75], [0.25, 0.5]]], units=["GATA3", "KRT5"], cluster=["m00", "m01"] * 2)
    twin = make_block([[[0.25, 0.5], [0.25, 0.25]]] * 2, units=["GATA3", "KRT5"], cluster=["m00", "m01"] * 4)
    return [
        make_result("resnet18", block, exposure="related", **common),
        make_result("untrained:resnet18", twin, **common),
        make_result("pixel-mean", [[0.25, 0.25], [0.125, 0.25]], units=["GATA3", "KRT5"], **common),
        make_reported("uni", 0.625, "golden"),
    ]


def write_with_companion(folder: Path) -> Path:
    """Write a result with a companion metric whose atoms lie in a parquet file."""
    content = units_table({"other": COMPANION})
    (folder / "resnet18.units.parquet").write_bytes(content)
    result = make_result("resnet18", metrics={"other": summarise(COMPANION)})
    file = UnitsFile(path="resnet18.units.parquet", sha256=hashlib.sha256(content).hexdigest())
    return write_result(folder, result.model_copy(update={"units_file": file}))


def tamper(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_the_golden_result_is_read_and_written_as_it_stands() -> None:
    """A file of schema_version 1 loads today, and is written back byte by byte."""
    path = GOLDEN / "result_v1.json"
    result = load_result(path)
    assert (result.model_string, result.headline.value) == ("resnet18", 0.5)
    assert dump_result(result) == path.read_text()


def test_the_golden_leaderboard_is_read_and_made_again() -> None:
    """A leaderboard of schema_version 1 loads today, and the same results still merge into the same bytes."""
    path = GOLDEN / "leaderboard_v1.json"
    assert dump_board(load_board(path)) == path.read_text()
    assert dump_board(merge([LoadedResult(result) for result in golden_results()])) == path.read_text()


@pytest.mark.parametrize(("model", "name"), [(Result, "result_v1"), (Leaderboard, "leaderboard_v1")])
def test_the_json_schemas_accept_the_golden_files(model: Any, name: str) -> None:
    """The printed schema is valid and describes the files; an unknown key is refused."""
    schema, document = model.model_json_schema(), json.loads((GOLDEN / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors({**document, "extra": 1})) != []


def test_floats_have_six_digits_and_zero_has_no_sign(tmp_path: Path) -> None:
    """1/3 is written as 0.333333."""
    board = merge([LoadedResult(make_result("resnet18", [0.0, 0.0, 1.0]))])
    write_board(board, tmp_path / "board.json")
    assert load_board(tmp_path / "board.json").rows[0].cells[0].score == 0.333333
    assert "-0.0" not in dump_board(board)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a readable leaderboard"),
        ('{"schema_version": 9, "tasks": [], "rows": []}', "schema_version is 9, this harness reads 1"),
        ('{"schema_version": 1, "tasks": [], "rows": [{}]}', "rows.0.model"),
    ],
)
def test_a_leaderboard_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str, words: str) -> None:
    """File, field and the way out."""
    path = tmp_path / "leaderboard.json"
    path.write_text(text)
    with pytest.raises(DamagedFileError) as caught:
        load_board(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "leaderboard merge" in str(caught.value)


def test_a_leaderboard_replaces_no_other_file(tmp_path: Path) -> None:
    """--output that names a result by mistake is refused; an older leaderboard is replaced."""
    path = write_result(tmp_path, make_result("resnet18"))
    board = merge(read_results([path]))
    with pytest.raises(CannotWriteError, match="no leaderboard"):
        write_board(board, path)
    for _ in range(2):
        write_board(board, tmp_path / "leaderboard.json")


def test_folders_are_read_at_any_depth_without_drafts_and_leaderboards(tmp_path: Path) -> None:
    """Results of subfolders count once; hidden drafts, parquet files and leaderboards are passed over."""
    write_result(tmp_path / "toy", make_result("resnet18"))
    named = write_result(tmp_path / "toy@points", make_result("pixel-mean"))
    (tmp_path / ".x.json.draft.json").write_text("{")
    (tmp_path / "toy/x.units.parquet").write_bytes(b"")
    write_board(merge(read_results([named])), tmp_path / "leaderboard.json")
    assert [item.result.model.name for item in read_results([tmp_path, named])] == ["resnet18", "pixel-mean"]


def test_every_broken_file_is_named(tmp_path: Path) -> None:
    """Two broken files, two lines; nothing is merged."""
    write_result(tmp_path, make_result("resnet18"))
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"schema_version": 7}')
    with pytest.raises(
        DamagedFileError, match=r"a\.json: not a readable result file.*\n.*b\.json: schema_version is 7"
    ):
        read_results([tmp_path])


def test_places_without_results_are_missing_data(tmp_path: Path) -> None:
    """Neither an absent folder nor an empty one is an empty leaderboard."""
    with pytest.raises(MissingDataError, match="no such file or folder"):
        read_results([tmp_path / "none"])
    with pytest.raises(MissingDataError, match="harness eval"):
        read_results([tmp_path])


def test_whole_results_are_recomputed_with_their_companions(tmp_path: Path) -> None:
    """Headline from the JSON, companion from the parquet file that the engine wrote; reported numbers have no atoms."""
    write_with_companion(tmp_path)
    write_result(tmp_path, make_reported("uni"), "uni")
    checked = check_results(read_results([tmp_path]))
    assert (checked.results, checked.metrics) == (1, 2)


TAMPERED: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("value", lambda d: d["metrics"]["pcc"].update(value=0.50001), "pcc.value: stored 0.50001, recomputed 0.5"),
    ("null", lambda d: d["metrics"]["pcc"].update(value=None), "pcc.value: stored None, recomputed 0.5"),
    ("sd", lambda d: d["metrics"]["pcc"].update(fold_sd=0.1), "pcc.fold_sd: stored 0.1, recomputed None"),
    ("count", lambda d: d["metrics"]["pcc"].update(n_undefined=1), "pcc.n_undefined: stored 1, recomputed 0"),
    ("atom", lambda d: d["units"]["pcc"]["value"].__setitem__(0, 0.9), "pcc.value: stored 0.5, recomputed 0.75"),
    ("weights", lambda d: d["units"]["pcc"].update(weight=[0.0, 0.0]), "pcc: all weights are zero"),
    ("clusters", lambda d: d["units"]["pcc"].update(cluster=["m00", ""]), "pcc: some units have no cluster"),
    ("companion", lambda d: d["metrics"]["other"].update(value=0.4), "other.value: stored 0.4, recomputed 0.31"),
    ("no atoms", lambda d: d["metrics"].update(x=d["metrics"]["pcc"]), "x: there are no units to recompute it from"),
    ("spec", lambda d: d["task"].update(spec_hash=None), "task.spec_hash: null"),
    ("checksum", lambda d: d["units_file"].update(sha256="0" * 64), "units.parquet: sha256 is"),
    ("file", lambda d: d["units_file"].update(path="gone.parquet"), "gone.parquet: the atoms"),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
def test_what_was_tampered_with_is_found(tmp_path: Path, change, words: str) -> None:
    """File, metric, stored and recomputed number."""
    path = write_with_companion(tmp_path)
    tamper(path, change)
    with pytest.raises(DamagedFileError) as caught:
        check_results(read_results([tmp_path]))
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


UNREADABLE: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("nan", lambda d: d["units"]["pcc"].update(value=[float("nan"), 0.1]), "finite number"),
    ("infinity", lambda d: d["metrics"]["pcc"].update(value=float("inf")), "finite number"),
    ("negative weight", lambda d: d["units"]["pcc"].update(weight=[1.0, -1.0]), "negative weight"),
    ("duplicate", lambda d: d["units"]["pcc"].update(unit=["a", "a"]), "stands twice"),
    ("lengths", lambda d: d["units"]["pcc"].update(fold=[0]), "different lengths"),
    ("clusters of some", lambda d: d["units"]["pcc"].update(cluster=["m00", None]), "valid string"),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE])
def test_atoms_that_make_no_sense_are_refused_on_reading(tmp_path: Path, change, words: str) -> None:
    """NaN, duplicates and negative weights never get as far as a merge."""
    path = write_result(tmp_path, make_result("resnet18"))
    tamper(path, change)
    with pytest.raises(DamagedFileError, match=words):
        read_results([tmp_path])


def test_units_that_differ_between_seeds_are_found(tmp_path: Path) -> None:
    """A unit lost in one seed, a weight that changes with the seed, a unit in two clusters."""
    whole = make_block([[[0.1, 0.2]], [[0.3, 0.4]]], weight=[1.0, 2.0, 1.0, 3.0], cluster=["a", "b", "a", "c"])
    columns = ("unit", "fold", "seed", "value", "weight", "cluster")
    short = whole.model_copy(update={name: getattr(whole, name)[:3] for name in columns})
    for block, words in [
        (whole, "weight of a unit differs between seeds"),
        (whole, "a unit stands in two clusters"),
        (short, "seeds hold different units"),
    ]:
        with pytest.raises(DamagedFileError, match=words):
            check_results([LoadedResult(make_result("resnet18", block))])


def test_every_disagreement_is_listed_at_once(tmp_path: Path) -> None:
    """Two tampered files, two lines."""
    for name in ("a", "b"):
        path = write_result(tmp_path, make_result(name))
        tamper(path, lambda d: d["metrics"]["pcc"].update(value=0.9))
    with pytest.raises(DamagedFileError) as caught:
        check_results(read_results([tmp_path]))
    assert len(str(caught.value).splitlines()) == 2


def test_a_leaderboard_is_compared_with_its_results(tmp_path: Path) -> None:
    """Untouched it agrees; a changed score and a result that came later are found."""
    results = tmp_path / "results"
    for result in golden_results()[:3]:
        write_result(results, result)
    path = tmp_path / "leaderboard.json"
    write_board(merge(read_results([results])), path)
    check_board(path, read_results([results]))
    tamper(path, lambda d: d["rows"][0]["cells"][0].update(score=0.99))
    with pytest.raises(DamagedFileError, match=r"rows\[0\]\.cells\[0\]\.score: stored 0\.99, recomputed 0\.2"):
        check_board(path, read_results([results]))
    write_result(results, make_result("late", task="golden"))
    with pytest.raises(DamagedFileError, match="rows: stored 3 entries, recomputed 4 entries"):
        check_board(path, read_results([results]))


def test_what_the_engine_writes_is_merged_and_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of a run pass the check; the hook merges those in memory into the board that the files give."""
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))
    registry, out = toy.registry(tmp_path), tmp_path / "out"
    options = RunOptions(baselines="all", stages="all", store=str(tmp_path / "store"), output=out)
    report = run(parse_models("toy-sum"), "toy", options, registry=registry)
    loaded = read_results([out])
    assert check_results(loaded).metrics == 2 * len(report.results)
    board = merge(loaded)
    assert dump_board(harness_merge(results=list(report.results))) == dump_board(board)
    row = next(row for row in board.rows if row.model == "toy-sum")
    assert {delta.vs for cell in row.cells for delta in cell.deltas} >= {"untrained", "toy-mean", "best-shortcut"}
    assert all(delta.abs is not None for cell in row.cells for delta in cell.deltas if delta.vs == "toy-mean")
