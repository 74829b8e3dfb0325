"""Telling a user's mistake from a bug."""

import dis
import errno
import sys
from types import TracebackType

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk or a quota that is full; it may not say of which file."""
_RAISE = dis.opmap["RAISE_VARARGS"]


def is_users_mistake(error: BaseException) -> bool:
    """Whether an error is a message for the user, rather than a bug whose traceback is wanted.

    A message is what our own code raised on purpose (a `raise` statement in a module of metarl) as
    ValueError, FileNotFoundError, ImportError or ArithmeticError (a number is not finite), any error of Gymnasium's own,
    such as an unknown world, and what the system says of a file or folder: that it is none, or may not be written.
    A ValueError that numpy or torch raised on the way is a bug.
    """
    gymnasium = sys.modules.get("gymnasium")  # imported by whoever raised its errors
    if _about_a_file(error) or (gymnasium is not None and isinstance(error, gymnasium.error.Error)):
        return True
    messages = (ValueError, FileNotFoundError, ImportError, ArithmeticError)
    return isinstance(error, messages) and _raised_by_us(error.__traceback__)


def message_of(error: BaseException) -> str:
    """What to tell the user of an error that is a message."""
    if not _about_a_file(error) or not isinstance(error, OSError) or not error.strerror:
        return str(error)
    place = "" if error.filename is None else f"{error.filename}: "
    hint = "; make room. A training goes on with --resume RUN" if error.errno in FULL else ""
    return f"{place}{error.strerror}{hint}"


def _about_a_file(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.filename is not None or error.errno in FULL)


def say(message: str) -> None:
    """Print a message on stderr, marked as ours."""
    print(f"metarl: {message}", file=sys.stderr)


def _raised_by_us(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is a module of metarl that stands at a `raise` statement."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "")
    here = module == "metarl" or module.startswith("metarl.")
    return here and trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE
