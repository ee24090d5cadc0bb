"""Options of one run, as the command line and Python give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.hashing import cache_root
from harness.types import DataContext


@dataclass(frozen=True)
class RunOptions:
    """Options of one run.

    Attributes:
        data_dirs: mirrors of the public sources, first hit wins.
        output: folder for result files; None writes none.
        store: folder or URL of the embedding store; empty for the user's cache.
        stages: ``last``, ``all`` or names separated by commas.
        baselines: ``cheap``, ``all``, ``none`` or model strings separated by commas.
        seeds: seeds of models drawn at random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        batch_size: samples a call of the model; None for the rule.
        compile: run networks through torch's compiler.
        limit: about so many samples only; results are partial and never merged.
        changes: ``protocol.params.KEY`` -> value in YAML, for this run only.
        diagnostics: ``default``, ``none`` or names separated by commas.
        keep_data: keep streamed files.
        offline: no network.
        executor: how the pairings are run.
        share: (i, n): embed only store shards s with s mod n = i, and write no result.
    """

    data_dirs: tuple[Path, ...] = ()
    output: Path | None = Path("results")
    store: str = ""
    stages: str = "last"
    baselines: str = "cheap"
    seeds: tuple[int, ...] = (0, 1, 2)
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    compile: bool = False
    limit: int | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    diagnostics: str = "default"
    keep_data: bool = False
    offline: bool = False
    executor: str = "local"
    share: tuple[int, int] | None = None

    @property
    def data_context(self) -> DataContext:
        """What readers may use."""
        return DataContext(self.data_dirs, cache_root(), self.offline, self.limit, self.keep_data)

    @property
    def store_root(self) -> str:
        """Where embeddings are kept."""
        return self.store or str(cache_root() / "store")
