"""The command line: what a user types. Every command is a file here, a few lines that call the API.

    convscope train …     python -m convscope train …

Exit status: 0 done · 2 the user can mend it: one message on stderr, stdout empty · 130 interrupted · 1 our defect.
Nothing in this package imports torch, numpy or rich before a command runs that needs it.
"""

from __future__ import annotations

from convscope.cli.status import main

__all__ = ["main"]
