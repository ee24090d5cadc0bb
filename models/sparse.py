"""Fixed sparse matrices whose products have gradients."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseMatrix:
    """A sparse matrix of fixed values with its transpose, to be multiplied with features that need gradients.

    Attributes:
        rows: (e,) int64, ascending.
        columns: (e,) int64.
        values: (e,) float32.
        height: number of rows.
        width: number of columns.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    height: int
    width: int

    @cached_property
    def transpose(self) -> SparseMatrix:
        """The matrix with rows and columns exchanged."""
        order = torch.argsort(self.columns, stable=True)
        made = SparseMatrix(self.columns[order], self.rows[order], self.values[order], self.width, self.height)
        made.__dict__["transpose"] = self
        return made

    @cached_property
    def compressed(self) -> Tensor:
        """The matrix as torch multiplies it fastest; 32-bit indices, which torch would otherwise make every time."""
        ends = torch.cumsum(torch.bincount(self.rows, minlength=self.height), 0)
        pointers = torch.cat([ends.new_zeros(1), ends])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
            warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
            return torch.sparse_csr_tensor(
                pointers.int(), self.columns.int(), self.values, (self.height, self.width), check_invariants=False
            )

    def __matmul__(self, features: Tensor) -> Tensor:
        """Multiply with (width, D) float32 features; gradients flow to the features."""
        product: Tensor = _Product.apply(features, self)
        return product

    def product(self, features: Tensor) -> Tensor:
        """Multiply without gradients."""
        if features.device.type == "mps":  # knows no compressed matrices
            return self.summed(features)
        answer = features.new_empty(self.height, features.shape[1])
        return torch.addmm(answer, self.compressed, features, beta=0, out=answer)  # `@` makes two copies more

    def summed(self, features: Tensor) -> Tensor:
        """Multiply by adding rows one by one, on any device."""
        terms = features[self.columns] * self.values[:, None]
        return features.new_zeros(self.height, features.shape[1]).index_add_(0, self.rows, terms)


class _Product(torch.autograd.Function):
    """The product of a fixed matrix with features; its gradient is the product with the transpose."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrix: SparseMatrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.product(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.transpose @ gradient.contiguous(), None
