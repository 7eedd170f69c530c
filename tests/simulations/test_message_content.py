"""Records on their way between processes: what arrives is what was sent, and one's own."""

import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from server.pieced_array import PiecedArray
from simulations.backends.message_content import LARGE, Blocks, SharedBlocks, decode, encode
from simulations.backends.received_array import ReceivedArray, read_only


def carried(content: RecordDict, *, mapped: bool = False) -> RecordDict:
    blocks = Blocks()
    records = pickle.loads(encode(content, blocks))
    shared = None
    if sealed := blocks.sealed():
        memory, lengths = sealed
        shared = SharedBlocks(memory.copy_on_write() if mapped else memory, lengths)
    return decode(records, shared)


numeric = npst.integer_dtypes() | npst.floating_dtypes() | npst.boolean_dtypes()
arrays = npst.arrays(numeric, npst.array_shapes(min_dims=0, min_side=0, max_side=4))


@given(arrays, st.sampled_from(["C", "F"]), st.booleans(), st.booleans())
def test_an_array_is_read_as_flower_reads_it(array, order, is_large: bool, mapped: bool) -> None:
    if is_large:
        array = np.resize(array, (2, LARGE)) if array.size else np.zeros((2, LARGE))
    sent = Array(np.asarray(array, order=order))
    content = carried(RecordDict({"a": ArrayRecord({"x": sent})}), mapped=mapped)
    got = content["a"]["x"]
    assert isinstance(got, ReceivedArray)
    expected, numbers = sent.numpy(), got.numpy()
    for one in (numbers, read_only(got)):
        assert (one.dtype, one.shape) == (expected.dtype, expected.shape)
        assert one.tobytes() == expected.tobytes()
    assert numbers.flags.writeable
    assert numbers.flags.f_contiguous == expected.flags.f_contiguous
    assert (got.dtype, got.shape, got.stype, got.data) == (
        sent.dtype, sent.shape, sent.stype, sent.data,
    )  # fmt: skip
    assert got == sent
    assert sent == got
    assert got.object_id == sent.object_id
    assert pickle.loads(pickle.dumps(got)) == sent


@pytest.mark.parametrize("length", [3, LARGE])
@pytest.mark.parametrize("mapped", [False, True])
def test_writing_to_numbers_changes_no_other_reading_of_them(length: int, mapped: bool) -> None:
    content = carried(RecordDict({"a": ArrayRecord([np.ones(length)])}), mapped=mapped)
    first, second = content["a"]["0"].numpy(), content["a"]["0"].numpy()
    first[:] = 7
    assert second.max() == 1
    assert content["a"]["0"].numpy().max() == 1
    content["a"]["0"].data = Array(np.zeros(2)).data
    assert content["a"]["0"].numpy().tolist() == [0, 0]


def test_all_kinds_of_records_arrive_in_their_order() -> None:
    sent = RecordDict(
        {
            "z": MetricRecord({"loss": 0.5, "n": 3, "all": [1.0, 2.0]}),
            "arrays": ArrayRecord([np.arange(5), np.zeros(LARGE)]),
            "a": ConfigRecord({"b": b"\x00", "s": "text", "list": ["x", "y"], "is": True}),
            "empty": ArrayRecord(),
        }
    )
    got = carried(sent)
    assert list(got) == list(sent)
    assert got == sent
    assert {name: type(record) for name, record in got.items()} == {
        name: type(record) for name, record in sent.items()
    }


def test_two_readers_of_one_content_share_nothing_they_could_write_to() -> None:
    blocks = Blocks()
    sent = RecordDict({"c": ConfigRecord({"l": [1]}), "a": ArrayRecord([np.ones(2)])})
    records = pickle.loads(encode(sent, blocks))
    one, other = decode(records, None), decode(records, None)
    one["c"]["l"].append(2)
    one["a"]["0"].data = b""
    del one["a"]["0"]
    assert other == sent


def test_a_buffer_that_many_contents_hold_is_written_once() -> None:
    array = Array(np.ones(LARGE))
    blocks = Blocks()
    for k in range(5):
        own = ConfigRecord({"k": k})
        encode(RecordDict({"a": ArrayRecord({"x": array}), "c": own}), blocks)
    sealed = blocks.sealed()
    assert sealed is not None
    assert sealed[1] == (len(array.data),)


def test_an_array_that_numpy_would_not_load_is_refused_here_too() -> None:
    header = Array(np.zeros(1)).data.replace(b"'<f8'", b"'|O' ")
    for data in (header, Array(np.zeros(9)).data[:-8], b"nonsense"):
        got = ReceivedArray("float64", (9,), "numpy.ndarray", data)
        with pytest.raises(ValueError):  # noqa: PT011 - numpy's own, of many texts
            got.numpy()
    with pytest.raises(TypeError):
        ReceivedArray("float64", (9,), "another", b"").numpy()


def test_a_request_in_pieces_arrives_whole_and_what_many_have_is_written_once() -> None:
    model = bytes(range(256)) * (LARGE // 128)
    blocks = Blocks()
    sent = [PiecedArray("uint8", "hedgerow.bytes", (b"to %d" % k, model, b"end")) for k in (1, 2)]
    encoded = [encode(RecordDict({"r": record(one)}), blocks) for one in sent]
    memory, lengths = blocks.sealed()
    assert lengths == (len(model),)
    for array, content in zip(sent, encoded, strict=True):
        got = decode(pickle.loads(content), SharedBlocks(memory, lengths))["r"]["request"]
        assert type(got.data) is bytes
        assert got.data == array.data == b"".join(array.pieces)
        assert got.shape == (len(got.data),)
        assert pickle.loads(pickle.dumps(array)) == got
        with pytest.raises(TypeError):
            got.numpy()


def record(array: Array) -> ArrayRecord:
    arrays = ArrayRecord()
    arrays["request"] = array
    return arrays
