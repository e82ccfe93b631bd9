"""Prints expected errors: what happened, where, what is safe, what to type next. They never show a traceback."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ingest_pipelines.cli import screen
from ingest_pipelines.errors import INTERRUPTED, IngestError, UsageError, file_error, printable
from ingest_pipelines.owner_only import private_umask


def _without_types(parameters: list[Any]) -> list[Any]:
    """Removes Python's types from help pages: `<bool>` from flags, `<str>` from what has a name."""
    for parameter in parameters:
        if getattr(parameter, "is_bool_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
        elif parameter.metavar is None and "int" in str(parameter.type_descriptor.annotation):
            parameter.metavar = "N"
    return parameters


def _no_type(ctx: Any) -> None:
    """The type of an argument on a help page."""


_BRACED = re.compile(r"^(?:\{(.*)\}|\[(\[.*\])\])$")
"""A piece of a usage line in braces, or in one pair of brackets too many."""


def _say_in_our_words(error: typer.BadParameter) -> None:
    """Replaces the words of pydantic, which Typer reads values with."""
    if error.__cause__ is None:
        return
    from pydantic import ValidationError

    from ingest_pipelines.config.mistakes import about_a_value

    if isinstance(error.__cause__, ValidationError):
        error.message = about_a_value(error.__cause__)


class Command(TyperCommand):
    """A command whose help page and errors are in our words, not in Python's.

    Only the owner can read what it creates: it may be customers' rows, a log or a secret.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """NAME for what must be given and [NAME] for what may be, where Typer writes {NAME} and [[NAME]]."""
        return [_BRACED.sub(r"\1\2", piece) for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments; what is wrong with a value is said in our words."""
        try:
            parsed: list[str] = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            _say_in_our_words(error)
            raise
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Runs it."""
        with private_umask():
            return super().invoke(ctx)


class ProjectCommand(Command):
    """A command that writes files of the project, which a team shares: the umask decides who can read them."""

    def invoke(self, ctx: Any) -> Any:
        """Runs it."""
        return TyperCommand.invoke(self, ctx)


class Group(TyperGroup):
    """A group of commands whose help page is in our words, not in Python's."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options."""
        return _without_types(super().get_params(ctx))


class Commands(Group):
    """The commands in order of declaration; prints the expected errors of all of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In order of declaration: the order in which a new user needs them."""
        return list(self.commands)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses arguments that are not UTF-8: neither the ledger nor JSON can hold them."""
        for number, word in enumerate(args, 1):
            if any("\ud800" <= letter <= "\udfff" for letter in word):
                hint = "nothing ran; rename the file first: mv OLD NEW"
                error = UsageError(f"argument {number} is not UTF-8: {printable(word)}", hint=hint)
                screen.complain(error)
                raise typer.Exit(error.exit_code)
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; an expected error ends it with the error's own exit code."""
        try:
            return super().invoke(ctx)
        except IngestError as error:
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            screen.complain(error)
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            sys.stdout = None  # the reader, such as `head`, has closed the pipe: nothing left to flush
            raise typer.Exit(0) from None
        except OSError as error:
            expected = file_error(error)
            if expected is None or ctx.params.get("debug"):
                raise
            screen.complain(expected)
            raise typer.Exit(expected.exit_code) from None
        except KeyboardInterrupt:
            screen.note("\nstopped; a load that was not committed changed nothing, and it is safe to run it again")
            raise typer.Exit(INTERRUPTED) from None
