"""The gradients of many clients' rows for one parameter, with a client axis before the row axis.

As `privacy.row_gradients`, for K clients of B rows each: every kind says how long each row's
gradient is and sums each client's rows with weights. None writes out what it can do without
(Goodfellow 2015, arXiv:1510.01799; Li et al. 2022, arXiv:2110.05679, section 4; Rochette et al.
2019, arXiv:1912.06015, for layers that see a row at several positions).

Factors and sums are float32, norms float64. A norm is right to some 1e-6 of itself, and so is the
bound that clipping by it gives: enough to rehearse a release, which `privacy.clipped_sum` is for.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def _norms(rows: Tensor, *along: int) -> Tensor:
    """L2, in float64, so that squares neither overflow nor underflow."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=along, dtype=torch.float64)
    return norms


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """Every row's gradient.

    Attributes:
        rows: shape (K, B, p), float32, for a parameter of p numbers.
    """

    rows: Tensor

    def squared_norms(self) -> Tensor:
        """Of each row, shape (K, B), float64."""
        return _norms(self.rows, 2).square()

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, p); rows count alike without weights, shape (K, B)."""
        if weights is None:
            torch.sum(self.rows, dim=1, out=into)
        else:
            torch.bmm(weights[:, None], self.rows, out=into[:, None])


@dataclass(frozen=True, slots=True)
class OuterProducts:
    """A row's gradient is the sum over T positions of the outer products of left and right.

    Attributes:
        left: shape (K, B, T, m), float32.
        right: shape (K, B, T, n), float32; the parameter has m n numbers.
    """

    left: Tensor
    right: Tensor

    def squared_norms(self) -> Tensor:
        """Of each row, shape (K, B), float64."""
        clients, rows, positions, m = self.left.shape
        if positions == 1:
            return (_norms(self.left, 2, 3) * _norms(self.right, 2, 3)).square()
        left, right = (one.flatten(0, 1) for one in (self.left, self.right))
        if 2 * positions < min(m, right.shape[2]):
            # |sum_t l_t r_t'|^2 = sum_st (l_s . l_t) (r_s . r_t)
            both = (torch.bmm(one, one.transpose(1, 2)) for one in (left, right))
            squared = torch.mul(*both).sum(dim=(1, 2), dtype=torch.float64).clamp(min=0)
            return squared.view(clients, rows)
        return WrittenOut(
            torch.bmm(left.transpose(1, 2), right).view(clients, rows, -1)
        ).squared_norms()

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, m n); rows count alike without weights, shape (K, B)."""
        left = self.left if weights is None else self.left * weights[:, :, None, None]
        product = into.view(len(into), left.shape[3], self.right.shape[3])
        torch.bmm(left.flatten(1, 2).transpose(1, 2), self.right.flatten(1, 2), out=product)


@dataclass(frozen=True, slots=True)
class Scattered:
    """A row's gradient is zero but for the lines of a table that it looked up.

    Attributes:
        tokens: which line, shape (K, B, T), int64.
        left: what each adds to its line, shape (K, B, T, m), float32.
        lines: of the table; the parameter has `lines` m numbers.
    """

    tokens: Tensor
    left: Tensor
    lines: int

    def squared_norms(self) -> Tensor:
        """Of each row, shape (K, B), float64."""
        clients, rows = self.tokens.shape[:2]
        tokens, left = self.tokens.flatten(0, 1), self.left.flatten(0, 1)
        same = tokens[:, :, None] == tokens[:, None, :]
        products = torch.bmm(left, left.transpose(1, 2)).masked_fill(~same, 0)
        return products.sum(dim=(1, 2), dtype=torch.float64).clamp(min=0).view(clients, rows)

    def sums(self, weights: Tensor | None, into: Tensor) -> None:
        """Per client, written to shape (K, lines m); rows count alike without weights, (K, B)."""
        clients, width = len(self.tokens), self.left.shape[3]
        left = self.left if weights is None else self.left * weights[:, :, None, None]
        offset = self.lines * torch.arange(clients, device=self.tokens.device)
        total = left.new_zeros(clients * self.lines, width)
        total.index_add_(0, (self.tokens + offset[:, None, None]).flatten(), left.flatten(0, 2))
        into.copy_(total.view(clients, -1))


ClientRowGradients = WrittenOut | OuterProducts | Scattered
