"""The gradients of a batch's rows for one parameter: written out, or as outer products.

Both say how long each row's gradient is and sum the rows with weights, which is all that clipping
needs (Goodfellow 2015, arXiv:1510.01799; Bu et al. 2023, arXiv:2210.00038).

**Rounding.** Gradients and factors are float32; all that is computed from them here is float64.
So squares neither overflow nor underflow, a product of two factors is exact, and the terms of a
squared norm are all positive, nothing cancels: a squared norm of d numbers in P parts is off,
relatively, by at most (d + P + 5) 2^-53 to first order (Higham 2002, Accuracy and Stability of
Numerical Algorithms, section 3.1), whichever form the parts have, as an outer product of m and n
numbers has m + n <= m n + 1 terms. A norm is off by half of that, which `norm_rounding(d)` covers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2**20
"""Numbers converted to float64 at a time: a copy of all would cost more than what is computed."""


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """Every row's gradient.

    Attributes:
        rows: shape (B, p), float32, for a parameter of p numbers.
    """

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def squared_norms(self) -> Tensor:
        """Of each row, shape (B,), float64; not finite where a number of the row is not."""
        return torch.cat([part.double().square().sum(dim=1) for part in self._chunks()])

    def only(self, chosen: Tensor) -> "WrittenOut":
        """The rows whose place in `chosen`, shape (B,), bool, is true."""
        return WrittenOut(self.rows[chosen])

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of rows times weights, shape (p,), float64; `weights` has shape (B,), float64."""
        total = torch.zeros(self.rows.shape[1], dtype=torch.float64, device=self.rows.device)
        done = 0
        for part in self._chunks():
            total += weights[done : done + len(part)] @ part.double()
            done += len(part)
        return total

    def written_out(self) -> Tensor:
        """Every row's gradient, shape (B, p)."""
        return self.rows

    def _chunks(self) -> Iterator[Tensor]:
        yield from torch.split(self.rows, max(1, CHUNK // max(1, self.rows.shape[1])))


@dataclass(frozen=True, slots=True)
class OuterProducts:
    """Row i's gradient is the outer product of left[i] and right[i].

    Attributes:
        left: shape (B, m), float32.
        right: shape (B, n), float32; the parameter has m n numbers.
    """

    left: Tensor
    right: Tensor

    def __len__(self) -> int:
        return len(self.left)

    def squared_norms(self) -> Tensor:
        """Of each row, shape (B,), float64; infinite where a float32 of the product would be."""
        largest = self.left.abs().amax(dim=1) * self.right.abs().amax(dim=1)
        left, right = (factor.double().square().sum(dim=1) for factor in (self.left, self.right))
        return torch.where(torch.isfinite(largest), left * right, torch.inf)

    def only(self, chosen: Tensor) -> "OuterProducts":
        """The rows whose place in `chosen`, shape (B,), bool, is true."""
        return OuterProducts(self.left[chosen], self.right[chosen])

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of rows times weights, shape (m n,), float64; `weights` has shape (B,), float64."""
        return ((self.left.double() * weights[:, None]).T @ self.right.double()).flatten()

    def written_out(self) -> Tensor:
        """Every row's gradient, shape (B, m n)."""
        return (self.left[:, :, None] * self.right[:, None, :]).flatten(1)


RowGradients = WrittenOut | OuterProducts
