"""YAML files: strict, with errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from harness.binding import bind
from harness.cards import load_card
from harness.errors import HarnessError, SpecError
from harness.specs import TaskSpec, load_spec
from harness.yamlfile import load_yaml, merge

BAD = Path(__file__).parent / "bad_specs"


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_bad_specs_are_refused_with_the_expected_message(path: Path, tmp_path: Path) -> None:
    """Each file in bad_specs fails with exit code 2 and the message its first line announces."""
    expected = path.read_text().splitlines()[0].removeprefix("# expected: ")
    registry = toy.registry(tmp_path)
    with pytest.raises(SpecError) as caught:
        bind(registry, path, None, {})
    assert expected in str(caught.value).replace(f"{BAD}/", "")
    assert caught.value.exit_code == 2


def test_every_good_and_bad_case_is_there() -> None:
    """The folder of bad files is not empty: the test above would pass on nothing."""
    assert len(list(BAD.glob("*.yaml"))) >= 9


def test_include_lays_changes_over_another_file(tmp_path: Path) -> None:
    """Mappings merge key by key; everything else is replaced; lines of both files stay known."""
    (tmp_path / "base.yaml").write_text(toy.SPEC)
    (tmp_path / "mine.yaml").write_text("include: base.yaml\nname: mine\nprotocol: {params: {scale: 2.0}}\n")
    spec = load_spec(tmp_path / "mine.yaml")
    assert (spec.name, spec.title, spec.protocol.params) == ("mine", "Toy", {"n": 600, "scale": 2.0})


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    """A circle of includes ends in an error, not in a recursion."""
    (tmp_path / "one.yaml").write_text("include: two.yaml\n")
    (tmp_path / "two.yaml").write_text("include: one.yaml\n")
    with pytest.raises(SpecError, match=r"one\.yaml.*includes itself|two\.yaml.*includes itself"):
        load_spec(tmp_path / "one.yaml")


def test_absent_files_and_foreign_bytes_are_explained(tmp_path: Path) -> None:
    """A missing file exits 5, bytes that are no text exit 2."""
    with pytest.raises(HarnessError) as missing:
        load_yaml(tmp_path / "none.yaml")
    assert missing.value.exit_code == 5
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="UTF-8"):
        load_yaml(tmp_path / "bytes.yaml")


def test_cards_refuse_text_where_a_number_belongs(tmp_path: Path) -> None:
    """YAML reads 1e-5 as text; the message says how to write it."""
    card = tmp_path / "card.yaml"
    card.write_text("name: x\nbuild: toy:build\ninput:\n  mean: [1e-5, 0.5, 0.5]\n")
    with pytest.raises(SpecError, match=r"card\.yaml:4: input\.mean\.0: .*1\.0e-5"):
        load_card(card)


def test_merge_keeps_its_arguments() -> None:
    """Neither mapping is changed."""
    base, change = {"a": {"x": [1]}}, {"a": {"x": [2], "y": 3}}
    assert merge(base, change) == {"a": {"x": [2], "y": 3}}
    assert (base, change) == ({"a": {"x": [1]}}, {"a": {"x": [2], "y": 3}})


def test_field_docstrings_become_the_schema() -> None:
    """The description of a key in the JSON Schema is its docstring in the code."""
    assert "headline" in TaskSpec.model_json_schema()["$defs"]["MetricSpec"]["properties"]["primary"]["description"]
