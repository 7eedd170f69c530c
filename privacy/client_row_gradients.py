"""The gradients of many clients' rows for one parameter, with a client axis before the row axis.

As `privacy.row_gradients`, for K clients of B rows each: every kind says how long each row's
gradient is and sums each client's rows with weights. None writes out what it can do without
(Goodfellow 2015, arXiv:1510.01799; Li et al. 2022, arXiv:2110.05679, section 4; Rochette et al.
2019, arXiv:1912.06015, for layers that see a row at several positions).

All is float32. A norm is right to some 1e-6 of itself, and so is the bound that clipping by it
gives: enough to rehearse a release, which `privacy.clipped_sum` is for. One that float32 cannot
hold comes out infinite or as no number; the caller trains those clients by themselves.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LARGEST_FACTOR = 1e12
"""Longer ones are too long: up to it, what underflows in the norm of the other factor (1e-22 of a
number) changes no gradient's norm by more than 1e-10."""


@dataclass(frozen=True, eq=False)
class Factor:
    """Of each row, what two parameters may have in common: their gradients, or a factor of them.

    Attributes:
        values: shape (K, B, p).
    """

    values: Tensor

    @cached_property
    def norms(self) -> Tensor:
        """L2, of each row, shape (K, B)."""
        norms: Tensor = torch.linalg.vector_norm(self.values, dim=2)
        return norms

    def weighted(self, weights: Tensor | None) -> Tensor:
        """The rows times their weights, shape (K, B), if there are any."""
        return self.values if weights is None else self.values * weights[:, :, None]


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """Every row's gradient.

    Attributes:
        rows: shape (K, B, p), for a parameter of p numbers.
    """

    rows: Factor

    def norms(self) -> Tensor:
        """Of each row, shape (K, B)."""
        return self.rows.norms

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, p); rows count alike without weights, shape (K, B)."""
        if weights is None:
            torch.sum(self.rows.values, dim=1, out=into)
        else:
            _multiply(weights[:, None], self.rows.values, into[:, None])


@dataclass(frozen=True, slots=True)
class OuterProduct:
    """A row's gradient is the outer product of left and right.

    Attributes:
        left: shape (K, B, m).
        right: shape (K, B, n); the parameter has m n numbers.
    """

    left: Factor
    right: Factor

    def norms(self) -> Tensor:
        """Of each row, shape (K, B)."""
        left, right = self.left.norms, self.right.norms
        return torch.where(right <= LARGEST_FACTOR, left * right, torch.inf)

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, m n); rows count alike without weights, shape (K, B)."""
        right = self.right.values
        product = into.view(len(into), -1, right.shape[2])
        _multiply(self.left.weighted(weights).transpose(1, 2), right, product)


@dataclass(frozen=True, slots=True)
class OuterProducts:
    """A row's gradient is the sum over T positions of the outer products of left and right.

    Attributes:
        left: shape (K, B, T, m).
        right: shape (K, B, T, n); the parameter has m n numbers.
    """

    left: Tensor
    right: Tensor

    def norms(self) -> Tensor:
        """Of each row, shape (K, B)."""
        clients, rows, positions, m = self.left.shape
        left, right = (one.flatten(0, 1) for one in (self.left, self.right))
        if 2 * positions < min(m, right.shape[2]):
            # |sum_t l_t r_t'|^2 = sum_st (l_s . l_t) (r_s . r_t)
            both = (torch.bmm(one, one.transpose(1, 2)) for one in (left, right))
            squared = torch.mul(*both).sum(dim=(1, 2), dtype=torch.float64).clamp(min=0)
            return squared.sqrt().float().view(clients, rows)
        products = torch.bmm(left.transpose(1, 2), right)
        return Factor(products.view(clients, rows, -1)).norms

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, m n); rows count alike without weights, shape (K, B)."""
        left = self.left if weights is None else self.left * weights[:, :, None, None]
        product = into.view(len(into), left.shape[3], self.right.shape[3])
        _multiply(left.flatten(1, 2).transpose(1, 2), self.right.flatten(1, 2), product)


@dataclass(frozen=True, slots=True)
class Scattered:
    """A row's gradient is zero but for the lines of a table that it looked up.

    Attributes:
        tokens: which line, shape (K, B, T), int64.
        left: what each adds to its line, shape (K, B, T, m).
        lines: of the table; the parameter has `lines` m numbers.
    """

    tokens: Tensor
    left: Tensor
    lines: int

    def norms(self) -> Tensor:
        """Of each row, shape (K, B)."""
        clients, rows = self.tokens.shape[:2]
        tokens, left = self.tokens.flatten(0, 1), self.left.flatten(0, 1)
        same = tokens[:, :, None] == tokens[:, None, :]
        products = torch.bmm(left, left.transpose(1, 2)).masked_fill(~same, 0)
        squared = products.sum(dim=(1, 2), dtype=torch.float64).clamp(min=0)
        return squared.sqrt().float().view(clients, rows)

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, lines m); rows count alike without weights, (K, B)."""
        clients, width = len(self.tokens), self.left.shape[3]
        left = self.left if weights is None else self.left * weights[:, :, None, None]
        offset = self.lines * torch.arange(clients, device=self.tokens.device)
        total = left.new_zeros(clients * self.lines, width)
        total.index_add_(0, (self.tokens + offset[:, None, None]).flatten(), left.flatten(0, 2))
        into.copy_(total.view(clients, -1))


ClientRowGradients = WrittenOut | OuterProduct | OuterProducts | Scattered


def _multiply(left: Tensor, right: Tensor, into: Tensor) -> None:
    """The clients' products of matrices, written to parts of longer vectors."""
    # Asked to write there itself, torch would multiply client by client.
    into.copy_(torch.bmm(left, right))
