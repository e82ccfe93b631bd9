"""Questions of commands, which Ctrl-C ends."""

from __future__ import annotations

import signal
import threading

import typer

from ingest_pipelines.errors import UsageError


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether a person says yes before something changes. An answer may come through a pipe.

    Args:
        yes: it was said with `--yes`; nobody is asked.

    Raises:
        UsageError: there is nobody to answer.
        typer.Abort: Ctrl-C.
    """
    if yes:
        return True
    try:
        return ask_yes_or_no(f"\n{question}", default=False)
    except typer.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise UsageError(
                "nothing was changed: the command asks first, and there is no terminal to answer", hint="add --yes"
            ) from None
        raise


def ask_yes_or_no(question: str, *, default: bool) -> bool:
    """The answer; Enter takes the default."""
    _let_ctrl_c_end_the_question()
    return typer.confirm(question, default=default, err=True)


def ask_for_text(question: str, *, default: str, show_default: bool) -> str:
    """What was typed; Enter takes the default."""
    _let_ctrl_c_end_the_question()
    answer: str = typer.prompt(question, default=default, err=True, show_default=show_default)
    return answer


def _let_ctrl_c_end_the_question() -> None:
    """Once Polars is imported, the system goes on with a read that Ctrl-C interrupts, until Enter is pressed."""
    if threading.current_thread() is threading.main_thread():
        signal.siginterrupt(signal.SIGINT, True)
