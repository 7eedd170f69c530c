import json
import logging

import numpy as np
import pytest

from federation import json_log
from federation.errors import StorageError
from federation.json_log import FIELDS, KEPT_FILES


@pytest.fixture
def open_log():
    opened = []

    def remembered(*args, **choice):
        opened.append(json_log.open_log(*args, **choice))
        return opened[-1]

    yield remembered
    for log in opened:
        log.close()


def lines(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_an_event_is_one_line_of_time_level_event_and_fields(open_log, tmp_path):
    log = open_log(tmp_path / "log" / "agent.jsonl")
    log.info("round_done", run="r-1", round=3, seconds=1.5)
    (line,) = lines(tmp_path / "log" / "agent.jsonl")
    assert line.keys() == {"time", "level", "event", "fields"}
    assert line["level"], line["event"] == ("info", "round_done")
    assert line["fields"] == {"run": "r-1", "round": 3, "seconds": 1.5}
    assert line["time"].endswith("+00:00")


def test_of_an_undeclared_field_only_the_name_goes_out(open_log, tmp_path):
    log = open_log(tmp_path / "agent.jsonl")
    log.info("loaded", run="r-1", patient_row="63,1,145", age=63)
    text = (tmp_path / "agent.jsonl").read_text()
    assert "145" not in text
    assert "63" not in json.dumps(lines(tmp_path / "agent.jsonl")[0]["fields"])
    assert lines(tmp_path / "agent.jsonl")[0]["fields"] == {
        "run": "r-1",
        "undeclared": "age, patient_row",
    }


def test_a_site_may_declare_fewer_fields(open_log, tmp_path):
    log = open_log(tmp_path / "agent.jsonl", fields=FIELDS - {"epsilon_spent"})
    log.info("charged", epsilon_spent=0.71)
    assert lines(tmp_path / "agent.jsonl")[0]["fields"] == {"undeclared": "epsilon_spent"}


def test_of_an_exception_only_its_type_goes_out(open_log, tmp_path):
    log = open_log(tmp_path / "agent.jsonl")
    try:
        raise ValueError("row 17: cholesterol 9999")
    except ValueError:
        log.error("training_failed", run="r-1")  # noqa: TRY400 - not the library's
    assert lines(tmp_path / "agent.jsonl")[0]["fields"] == {"run": "r-1", "error": "ValueError"}
    assert "9999" not in (tmp_path / "agent.jsonl").read_text()


def test_an_error_without_an_exception_names_none(open_log, tmp_path):
    log = open_log(tmp_path / "agent.jsonl")
    log.error("stopped", exit_code=3)
    assert lines(tmp_path / "agent.jsonl")[0]["fields"] == {"exit_code": 3}


def test_of_another_librarys_record_only_level_and_logger_go_out(open_log, tmp_path):
    log = open_log(tmp_path / "agent.jsonl")
    theirs = logging.Logger("urllib3.pool")  # noqa: LOG001 - of this test alone
    theirs.addHandler(log.handler)
    theirs.warning("retrying %s", "https://user:secret@host")
    (line,) = lines(tmp_path / "agent.jsonl")
    assert (line["level"], line["event"]) == ("warning", "library")
    assert line["fields"] == {"logger": "urllib3.pool"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("inf"), "inf"),
        (np.arange(3), "ndarray"),
        (["row"], "list"),
        ("x" * 501, "x" * 500),
        ("a\nb\u2028c", "a\nb\u2028c"),
        (None, None),
        (True, True),
    ],
)
def test_values_are_numbers_and_short_texts(open_log, tmp_path, value, said):
    open_log(tmp_path / "agent.jsonl").info("note", reason=value)
    (line,) = lines(tmp_path / "agent.jsonl")
    assert line["fields"]["reason"] == said


def test_what_is_below_the_level_is_not_written(open_log, tmp_path):
    log = open_log(tmp_path / "agent.jsonl", "warning")
    log.info("round_done")
    log.warning("slow")
    assert [line["event"] for line in lines(tmp_path / "agent.jsonl")] == ["slow"]


def test_files_are_rotated_by_size_bounded_in_number_and_their_owners_alone(open_log, tmp_path):
    log = open_log(tmp_path / "log" / "node.jsonl", largest_file=300)
    for number in range(100):
        log.info("note", count=number)
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) == 1 + KEPT_FILES
    assert all(file.stat().st_size <= 300 for file in files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert lines(tmp_path / "log" / "node.jsonl")[-1]["fields"] == {"count": 99}


def test_a_reopened_log_goes_on(open_log, tmp_path):
    for number in range(2):
        log = open_log(tmp_path / "node.jsonl")
        log.info("started", pid=number)
        log.close()
    assert len(lines(tmp_path / "node.jsonl")) == 2


def test_a_full_disk_stops_no_process_and_tells_no_field(open_log, tmp_path, capsys):
    log = open_log(tmp_path / "node.jsonl")
    log.handler.stream.close()
    log.handler.stream = open("/dev/full", "w", buffering=1)  # noqa: PTH123, SIM115
    log.info("note", reason="private")
    said = capsys.readouterr().err
    assert said == "cannot log note: OSError\n"


def test_a_log_that_cannot_be_opened_is_an_error(open_log, tmp_path):
    (tmp_path / "log").write_text("")
    with pytest.raises(StorageError, match="cannot write the log"):
        open_log(tmp_path / "log" / "node.jsonl")
