"""Ghost clipping: the layers whose gradients per row are never written out.

A linear layer of m outputs and n inputs has m n numbers in each row's gradient, but only m + n in
the two vectors that it is the outer product of. Norms come from these, and so does the clipped sum:
with rows weighted by their clip factors it is one product of two matrices (Li et al. 2022,
arXiv:2110.05679, section 4; Bu et al. 2023, arXiv:2210.00038, who call it book-keeping).

The papers' first way, which Opacus has, runs backward a second time on the weighted losses. There a
row's share is rounded in another way than when its norm was taken, by an amount that cancellation
inside the network does not bound; so nothing bounds how far the share exceeds the clip. Here norms
and sum are made of the same numbers, and `privacy.row_gradients` bounds the rounding.

Which layers is a rule on the model alone, so that a run repeats bit for bit. It comes from
`benchmarks/per_sample_gradients.py`: outer products are faster in every network measured there.
"""

from collections import Counter

from torch import nn


def linear_layers(model: nn.Module) -> frozenset[nn.Linear]:
    """Those whose parameters belong to no other layer."""
    owners = Counter(
        parameter for layer in model.modules() for parameter in layer.parameters(recurse=False)
    )
    return frozenset(
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear and all(owners[own] == 1 for own in layer.parameters())
    )
