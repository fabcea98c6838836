"""The pfiflow command.

Exit status, for every command:

| status | means |
|---|---|
| 0 | done |
| 1 | done, with a negative result (a finding, a message refused, a message not found) |
| 2 | wrong command line |
| 3 | a route file or a setting is wrong; nothing was started |
| 4 | the store is in use by another process, or cannot be opened |
| 5 | a peer cannot be reached or did not answer |
| 70 | a defect |
| 130 | stopped at once by a second signal; nothing accepted was lost |
"""

from __future__ import annotations

from pfiflow.cli.main import main

__all__ = ["main"]
