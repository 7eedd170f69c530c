"""Every `hedgerow ...` in the documents and in deploy/ is a command that there is."""

from pathlib import Path

import pytest
import yaml
from command_lines import Line, fault, in_file, in_markdown

import hedgerow

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
DOCUMENTS += (ROOT / "deploy").rglob("*.md")
FILES = [
    path
    for path in (ROOT / "deploy").rglob("*")
    if path.is_file() and path.suffix not in {".md", ".py", ".pyc"}
]


@pytest.fixture(scope="module")
def cli():
    return hedgerow.command_line()


def faults(lines, cli):
    return [found for line in lines if (found := fault(line, cli))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_no_command_that_there_is_not(path, cli) -> None:
    assert not faults(in_markdown(path.read_text()), cli)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_deployment_file_names_no_command_that_there_is_not(path, cli) -> None:
    assert not faults(in_file(path.read_text()), cli)


def test_lists_of_words_that_containers_run_are_commands_too(cli) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    charts = [path.read_text() for path in (ROOT / "deploy" / "helm").rglob("*.yaml")]
    rows = [row.strip() for text in (dockerfile, *charts) for row in text.splitlines()]
    lists = [
        yaml.safe_load(row.partition(" ")[2])
        for row in rows
        if row.startswith(('CMD ["site"', 'CMD ["coord', 'args: ["'))
    ]
    lists += [
        service["command"]
        for service in compose["services"].values()
        if "entrypoint" not in service and "command" in service
    ]
    assert len(lists) >= 7
    assert not faults([Line(tuple(words), whole=True) for words in lists], cli)


def test_commands_are_found_wherever_they_stand(cli) -> None:
    assert sum(len(list(in_markdown(path.read_text()))) for path in DOCUMENTS) > 60
    found = {line.words for path in FILES for line in in_file(path.read_text())}
    assert any(words[:2] == ("site", "join") for words in found)
    assert ("site", "agent", "/var/lib/hedgerow-agent/site") in found  # of the unit
    assert ("coordinator", "roster", "show", "$fed") in found  # within $( ) of the script


MARKDOWN = """\
Say `hedgerow simulte` or,
over two lines, `hedgerow simulate
--no-such-option`.

    $ hedgerow site join HOME          # without its package
    sudo -u someone /opt/hedgerow/bin/hedgerow site init HOME \\
      --name a --federation b

```
hedgerow privacy verify A B C --jsn
```
"""


def test_each_kind_of_fault_is_told(cli) -> None:
    found = faults(in_markdown(MARKDOWN), cli)
    assert sorted(found) == [
        "hedgerow has no command 'simulte'",
        "hedgerow privacy verify has no option --jsn",
        "hedgerow simulate has no option --no-such-option",
        "hedgerow site init wants --task, --dataset, --rows, --epsilon",
        "hedgerow site join wants HOME, PACKAGE",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ExecStart=/opt/hedgerow/bin/hedgerow site agnt /x", "no command 'agnt'"),
        (
            "# docker compose exec coordinator \\\n#  hedgerow coordinator rum FED",
            "no command 'rum'",
        ),
        ("x=$(hedgerow coordinator bundle)", "wants FED"),
        ("a | hedgerow site log HOME --follw", "no option --follw"),
        ("kubectl exec x -- hedgerow site up A B", "takes 1 arguments"),
    ],
)
def test_faults_in_files_are_told(text, told, cli) -> None:
    (found,) = faults(in_file(text), cli)
    assert told in found


@pytest.mark.parametrize("text", ["Description=hedgerow agent: holds rows", "name: hedgerow-demo"])
def test_prose_in_files_is_no_command(text) -> None:
    assert not list(in_file(text))
