"""A large request as Flower carries it, in pieces of which some are part of many requests.

The global model is part of every site's request. Joined, a round's requests are as large as the
model times the number of sites; a Grid that takes pieces needs the model once.
"""

from flwr.app import Array


class PiecedArray(Array):
    """An array of bytes that are put together when somebody asks for them.

    Attributes:
        pieces: which follow each other.
    """

    pieces: tuple[bytes, ...]

    def __init__(self, dtype: str, stype: str, pieces: tuple[bytes, ...]) -> None:
        # Not through Flower's constructor: it wants the bytes.
        shape = (sum(len(piece) for piece in pieces),)
        self.__dict__.update(dtype=dtype, shape=shape, stype=stype, pieces=pieces)

    @property
    def data(self) -> bytes:  # type: ignore[override]  # Flower has an attribute here
        """All pieces; joined each time, for to keep that would be what this class is against."""
        return b"".join(self.pieces)

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        return Array, (self.dtype, self.shape, self.stype, self.data)
