"""Wells in memory: drawn ones, and those of the reference folder, read without the harness's own readers."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from harness.tasks.wells import Relations, WellFold, Wells
from places import SHARED

from harness.types import Embeddings

ORACLES = SHARED / "oracles/rxrx3"
ANNOTATIONS = "recursionpharma/EFAAR_benchmarking/efaar_benchmarking/benchmark_annotations"
SOURCES = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")


@dataclass(frozen=True)
class WellsInMemory:
    wells: Wells
    folds: tuple[WellFold, ...]
    relations: dict[str, Relations] = field(default_factory=dict)
    interactions: tuple[tuple[str, str, float], ...] = ()
    samples_a_well: int = 1
    notes: tuple[str, ...] = ()
    data_hash: str = ""

    @property
    def well_of(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.wells.ids)), self.samples_a_well)

    @property
    def ids(self) -> list[str]:
        return [f"{self.wells.ids[well]}/{index}" for index, well in enumerate(self.well_of.tolist())]

    def fingerprint(self, view: str) -> str:
        return view

    def read(self, view: str, start: int, stop: int) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Case:
    metadata: pd.DataFrame
    features: np.ndarray
    dataset: WellsInMemory


def embed(dataset: WellsInMemory, features: np.ndarray) -> Embeddings:
    return Embeddings(tuple(dataset.ids), np.asarray(features, dtype=np.float32), "last", 0, "")


def relate(pairs: dict[str, list[tuple[str, str]]]) -> dict[str, Relations]:
    return {
        source: Relations(source, tuple(sorted({(min(pair), max(pair)) for pair in listed})), "", len(listed))
        for source, listed in pairs.items()
    }


@functools.cache
def read_relations() -> dict[str, Relations]:
    tables = {
        source: pd.read_csv(SHARED / f"data/{ANNOTATIONS}/{source}.txt", keep_default_na=False) for source in SOURCES
    }
    return relate(
        {
            source: [(a, b) for a, b in zip(table.entity1, table.entity2, strict=True) if a != b]
            for source, table in tables.items()
        }
    )


@functools.cache
def read_expected(case: str) -> dict[str, Any]:
    return json.loads((ORACLES / case / "expected.json").read_text())


@functools.cache
def read_case(case: str, kind: str | None = None) -> Case:
    """Return a case of the oracles as one fold, all ``EMPTY_control`` wells being its controls."""
    folder = ORACLES / case / "data/recursionpharma/rxrx3-core"
    table = pd.read_csv(folder / "metadata_rxrx3_core.csv", low_memory=False)
    if kind is not None:
        table = table[table.perturbation_type == kind].reset_index(drop=True)
    vectors = pd.read_parquet(folder / "OpenPhenom_rxrx3_core_embeddings.parquet").set_index("well_id")
    features = vectors.loc[table.well_id, [f"feature_{index}" for index in range(vectors.shape[1])]].to_numpy()
    crispr = (table.perturbation_type == "CRISPR") & ~table.treatment.str.contains("_control")
    name = table.treatment.where(~crispr, table.treatment.str.partition("_")[0])
    control = (name == "EMPTY_control").to_numpy()
    wells = Wells(
        tuple(table.well_id),
        tuple(name),
        control,
        batch=tuple(table.experiment_name),
        kind=tuple(table.perturbation_type),
        dose=table.concentration.to_numpy(dtype=np.float64),
    )
    fold = WellFold(0, np.flatnonzero(~control), np.flatnonzero(control))
    truth = ORACLES / case / "data" / ANNOTATIONS / "compound_gene_interactions.csv"
    interactions: tuple[tuple[str, str, float], ...] = ()
    if truth.is_file():
        known = pd.read_csv(truth, keep_default_na=False)
        interactions = tuple(zip(known.treatment, known.gene_symbol, known.nM_value, strict=True))
    return Case(table, features, WellsInMemory(wells, (fold,), read_relations(), interactions))


def draw_screen(seed: int, *, genes: int = 24, wells: int = 6, controls: int = 30, batches: int = 2) -> WellsInMemory:
    """Return a screen without pictures: every gene in every batch, pairs of neighbours in the alphabet known."""
    rng = np.random.default_rng(seed)
    symbols = [f"G{index:03d}" for index in range(genes)]
    names = [*np.repeat(symbols, wells), *["EMPTY_control"] * (controls * batches)]
    order = rng.permutation(len(names))
    batch = np.concatenate([np.arange(genes * wells) % batches, np.arange(controls * batches) % batches])
    control = np.array([name == "EMPTY_control" for name in names])[order]
    table = Wells(
        tuple(f"w{index:04d}" for index in range(len(names))),
        tuple(str(names[row]) for row in order),
        control,
        batch=tuple(f"b{batch[row]}" for row in order),
    )
    fold = WellFold(0, np.flatnonzero(~control), np.flatnonzero(control))
    pairs = [(symbols[index], symbols[index + 1]) for index in range(genes - 1)]
    return WellsInMemory(table, (fold,), relate({"CORUM": pairs, "HuMAP": pairs[::3]}))
