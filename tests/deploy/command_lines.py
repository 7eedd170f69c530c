"""Finds `hedgerow ...` in documents and deployment files, and holds it against the CLI."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import click

FENCE = re.compile(r"^ {0,3}(```|~~~)")
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
IN_CODE = re.compile(r"(?:^|[\s/(`\"'])hedgerow +(?=[a-z-])")
IN_FILE = re.compile(
    r"(?:^[\s#-]*(?:\$ )?|\$\(|[;&|]\s*|-- |exec (?:coordinator\s+)?|Exec\w*=[+@-]*/\S*/|`|"
    r"(?:sudo|runuser) -u \S+ (?:/\S*/)?)hedgerow +(?=[a-z-])"
)
ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "|-", "then", "}"}
ANYWHERE = frozenset({"--help", "--version"})


@dataclass(frozen=True)
class Line:
    """A command line as somebody wrote it.

    Attributes:
        words: what follows `hedgerow`.
        whole: whether somebody would run it as it stands, rather than mention it.
    """

    words: tuple[str, ...]
    whole: bool


def in_markdown(text: str) -> Iterator[Line]:
    """Of fenced and indented blocks, and of what stands in backticks."""
    blocks, prose = _split(text)
    for block in blocks:
        yield from _of_lines(block, IN_CODE)
    for code in INLINE.findall(prose):
        if IN_CODE.match(" " + code):
            yield from (
                Line(one.words, False) for one in _of_lines(" ".join(code.split()), IN_CODE)
            )


def in_file(text: str) -> Iterator[Line]:
    """Of a script, unit, chart or configuration file, comments included."""
    yield from _of_lines(text, IN_FILE)


def fault(line: Line, root: click.Command) -> str | None:
    """What the CLI does not know or would not take; None if it is well."""
    command, words = root, list(line.words)
    path = ["hedgerow"]
    while isinstance(command, click.Group):
        if not words or words[0] in ANYWHERE or words[0].startswith("..."):
            return None
        name = words.pop(0)
        if name not in command.commands:
            return f"{' '.join(path)} has no command {name!r}"
        command = command.commands[name]
        path.append(name)
    return _fault_of_arguments(command, " ".join(path), words, whole=line.whole)


@dataclass
class _Given:
    """What a line gives a command."""

    options: set[str | None]
    arguments: int = 0
    elided: bool = False


def _fault_of_arguments(
    command: click.Command, name: str, words: list[str], *, whole: bool
) -> str | None:
    if ANYWHERE & set(words):
        return None
    options = [one for one in command.params if isinstance(one, click.Option)]
    given = _given(options, words, whole=whole)
    if isinstance(given, str):
        return f"{name}{given}"
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    if given.arguments > len(arguments) and all(one.nargs == 1 for one in arguments):
        return f"{name} takes {len(arguments)} arguments, not {given.arguments}"
    if not whole or given.elided:
        return None
    wanted = [one.opts[0] for one in options if one.required and one.name not in given.options]
    if given.arguments < sum(one.required for one in arguments):
        wanted = [one.human_readable_name for one in arguments]
    return f"{name} wants {', '.join(wanted)}" if wanted else None


def _given(options: list[click.Option], words: list[str], *, whole: bool) -> _Given | str:
    """What the words give; a fault if they name an option that there is not."""
    flags = {flag: one for one in options for flag in (*one.opts, *one.secondary_opts)}
    found, rest = _Given(set()), list(words)
    while rest:
        flag, _, value = rest.pop(0).partition("=")
        if "..." in flag:
            found.elided = True
        elif not flag.startswith("-"):
            found.arguments += 1
        elif flag not in flags:
            return f" has no option {flag}"
        else:
            found.options.add(flags[flag].name)
            if not (flags[flag].is_flag or flags[flag].count or value):
                if not rest and whole:
                    return f": {flag} wants a value"
                rest = rest[1:]
    return found


def _of_lines(text: str, pattern: re.Pattern[str]) -> Iterator[Line]:
    joined = re.sub(r"\\\n[\s#]*", " ", text)
    for row in joined.splitlines():
        row = re.sub(r"(?<=\S)\s+#\s.*", "", row)  # noqa: PLW2901 - a comment after the command
        for found in pattern.finditer(row):
            mentioned = "`" in found.group()
            yield Line(tuple(_words(row[found.end() :])), whole=not mentioned)


def _words(rest: str) -> Iterator[str]:
    """The words up to the end of the command."""
    rest = rest.split("`", maxsplit=1)[0]
    rest = re.sub(r"\)(\"|'|$|[;\s]).*", "", rest)
    try:
        words = shlex.split(rest)
    except ValueError:  # a quotation that the line only begins or ends
        words = rest.replace('"', " ").replace("'", " ").split()
    for word in words:
        if word in ENDS or word.startswith((">", "2>", "<")):
            return
        bare = word.strip("[]").rstrip(",;:")
        if bare:
            yield bare
        if word.endswith(";"):
            return


def _split(text: str) -> tuple[list[str], str]:
    """Code blocks, and the rest, of Markdown."""
    blocks: list[str] = []
    prose: list[str] = []
    fenced, block, before_blank = False, [], True
    for row in text.splitlines():
        if FENCE.match(row):
            fenced = not fenced
            if not fenced:
                blocks.append("\n".join(block))
                block = []
            continue
        indented = row.startswith("    ") and (before_blank or block)
        if fenced or indented:
            block.append(row[4:] if indented and not fenced else row)
            continue
        if block and row.strip():
            blocks.append("\n".join(block))
            block = []
        prose.append(row)
        before_blank = not row.strip()
    if block:
        blocks.append("\n".join(block))
    return blocks, "\n".join(prose)
