"""A question before a command changes something."""

from __future__ import annotations

import typer

from ingest_pipelines.errors import UsageError


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether a person says yes. An answer may come through a pipe.

    Args:
        yes: it was said with `--yes`; nobody is asked.

    Raises:
        UsageError: there is nobody to answer.
        typer.Abort: Ctrl-C.
    """
    if yes:
        return True
    try:
        return typer.confirm(f"\n{question}", default=False, err=True)
    except typer.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise UsageError(
                "nothing was changed: the command asks first, and there is no terminal to answer", hint="add --yes"
            ) from None
        raise
