"""A document of 50 MB: how much memory its submission takes. In a process of its own, so that its peak can be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pfiflow.simulators.certificates import Credentials

SCRIPT = """
import resource, sys
from pathlib import Path
from pfiflow.dmp.seal import Seal
from tests.dmp.builders import request_of, with_raw
from tests.xds.builders import DOCUMENT

seal = Seal.load(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes())
request_of(seal)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = 50_000_000
raw = b"<ClinicalDocument xmlns='urn:hl7-org:v3'><text>%s</text></ClinicalDocument>" % (b"QUJD" * (size // 4))
whole = request_of(seal, with_raw(raw))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert whole.length > size
print((after - before) * 1024 / size)
"""


def test_a_large_document_is_not_copied(credentials: Credentials) -> None:
    command = [sys.executable, "-c", SCRIPT, str(credentials.certificate), str(credentials.key)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=root)
    # Making the document takes two of its sizes for a moment (the text, then the document); sending it adds nothing.
    assert float(done.stdout) < 2.3
