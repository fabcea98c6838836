from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pfiflow.cda.xml import parse
from pfiflow.errors import Rejected
from tests.cda.samples import UNSTRUCTURED

SECRET = "DUPONT"


def refusal(data: bytes, **bounds: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse(data, **bounds)
    assert len(caught.value.problems) == 1
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        b"<a>\xc3\xa9\xe2\x82\xac</a>",
        '<?xml version="1.0"?><a>é€</a>'.encode(),
        b"\xef\xbb\xbf" + '<?xml version="1.0" encoding="utf-8"?><a>é€</a>'.encode(),
        '<?xml version="1.0" encoding="UTF8"?><a>é€</a>'.encode(),
        '<?xml version="1.0" encoding="ISO-8859-15"?><a>é€</a>'.encode("iso-8859-15"),
        "<?xml version='1.0' encoding='Windows-1252' ?><a>é€</a>".encode("cp1252"),
        '<?xml version="1.0" encoding="ISO-8859-1"?><a>é&#x20AC;</a>'.encode("latin-1"),
        '<?xml version="1.0" encoding="US-ASCII"?><a>&#xE9;&#x20AC;</a>'.encode("ascii"),
        '<?xml version="1.0" encoding="UTF-16"?><a>é€</a>'.encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16LE"?><a>é€</a>'.encode("utf-16-le"),
        '<?xml version="1.0" encoding="UTF-16BE"?><a>é€</a>'.encode("utf-16-be"),
        "<a>é€</a>".encode("utf-16-be"),
    ],
)
def test_declared_encodings_are_read(data: bytes) -> None:
    assert parse(data).text == "é€"


@pytest.mark.parametrize(
    "data",
    [
        b'<?xml version="1.0" encoding="cp037"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b'<?xml version="1.0" encoding="DUPONT"?><a/>',
        b'<?xml version="1.0" encoding="utf-16"?><a/>',
        b'<?xml version="1.0" encoding="ISO-2022-JP"?><a/>',
        '<?xml version="1.0" encoding="cp037"?><!DOCTYPE a><a/>'.encode("cp037"),
        "<a/>".encode("utf-32"),
        "<!DOCTYPE a><a/>".encode("utf-32-le"),
        "<!DOCTYPE a><a/>".encode("utf-32-be"),
        b"+ADw-a/+AD4-",
        b"\xff\xfe<\x00a\x00/\x00>",
        b"\xff\xfe\x00\xd8\x00\xd8",
        b"<a>\xff</a>",
    ],
)
def test_other_encodings_are_refused(data: bytes) -> None:
    assert refusal(data).problems[0].code == "102"


def test_comments_and_instructions_before_the_root_are_legal() -> None:
    prolog = '<?xml version="1.0"?>\n<?xml-stylesheet href="x.xsl"?><!-- <!DOCTYPE a> --> \n<?a <!DOCTYPE a> ?>\t'
    assert parse(f"{prolog}<a>1</a><!-- -->".encode()).text == "1"


def test_text_is_whole_across_comments_instructions_and_sections() -> None:
    """A comment inside a value must not hide its end (the classic trap of XML signatures and identities)."""
    root = parse(b"<a>DU<!-- x -->PO<?x y?>NT<![CDATA[<&]]>!</a>")
    assert root.text == "DUPONT<&!"
    assert len(root) == 0


BOMB = (
    '<!DOCTYPE a [<!ENTITY l0 "DUPONT">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    + "]><a>&l11;</a>"
)
QUADRATIC = f'<!DOCTYPE a [<!ENTITY x "{"x" * 100_000}">]><a>{"&x;" * 100_000}</a>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
PARAMETER = '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]><a/>'


@pytest.mark.parametrize(
    "text", [BOMB, QUADRATIC, EXTERNAL, PARAMETER, "<!DOCTYPE a><a/>", '<!DOCTYPE a SYSTEM "x"><a/>']
)
@pytest.mark.parametrize(
    "prolog", ["", '<?xml version="1.0"?>\n', "\n<!-- -->\n<?x?>\n", '<?xml version="1.0" encoding="UTF-16"?>']
)
def test_a_doctype_is_refused_in_no_time(text: str, prolog: str) -> None:
    data = (prolog + text).encode("utf-16" if "UTF-16" in prolog else "utf-8")
    start = time.thread_time()
    problem = refusal(data).problems[0]
    assert time.thread_time() - start < 1
    assert problem.code == "207"
    assert "DOCTYPE" in problem.message
    assert problem.location.count(":") == 1


def test_a_doctype_is_said_to_stand_where_it_stands() -> None:
    assert refusal(b"<?xml version='1.0'?>\n<!-- \n -->  <!DOCTYPE a><a/>").problems[0].location == "3:7"


def test_entities_of_no_dtd_are_refused_and_character_references_read() -> None:
    assert refusal(b"<a>&DUPONT;</a>").problems[0].code == "102"
    assert parse(b'<a b="&#65;&lt;">&amp;&#x42;</a>').get("b") == "A<"


def test_xinclude_is_not_processed(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text("<secret/>")
    include = f'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{tmp_path}/x.xml"/></a>'
    root = parse(include.encode())
    assert [child.tag for child in root] == ["{http://www.w3.org/2001/XInclude}include"]


@pytest.mark.parametrize("depth", [257, 3_000, 100_000])
@pytest.mark.parametrize("padding", [0, 9_600_000])
def test_deep_nesting_is_refused(depth: int, padding: int) -> None:
    """Without and with libxml2's huge mode, where its own bounds are higher."""
    data = b"<a>" * depth + b"x" * padding + b"</a>" * depth
    start = time.thread_time()
    assert refusal(data).problems[0].code == "207"
    assert time.thread_time() - start < 2


def test_the_depth_bound_is_exact() -> None:
    for depth, bound in ((256, 256), (10, 10)):
        assert parse(b"<a>" * depth + b"</a>" * depth, max_depth=bound).tag == "a"
    padding = b"x" * 9_600_000
    assert parse(b"<a>" * 256 + padding + b"</a>" * 256).tag == "a"
    assert "deeper than 9" in refusal(b"<a>" * 10 + b"</a>" * 10, max_depth=9).problems[0].message


@pytest.mark.parametrize(
    ("data", "bounds"),
    [
        (b"<a>xx</a>", {"max_bytes": 8}),
        (b"<a>" + b"<b/>" * 10 + b"</a>", {"max_tags": 11}),
        (b"<a " + b" ".join(b'x%d=""' % n for n in range(10)) + b"/>", {"max_attributes": 9}),
        (b"<?x?>" * 1_001 + b"<a/>", {}),
        (b"<!---->" * 1_001 + b"<a/>", {}),
        (b"<" + b"n" * 60_000 + b"/>", {}),
    ],
)
def test_every_bound_holds(data: bytes, bounds: dict[str, int]) -> None:
    assert refusal(data, **bounds).problems[0].code == "207"


def test_bounds_let_their_own_value_pass() -> None:
    assert parse(b"<a>xx</a>", max_bytes=9).text == "xx"
    assert len(parse(b"<a>" + b"<b/>" * 10 + b"</a>", max_tags=12)) == 10
    assert len(parse(b"<a " + b" ".join(b'x%d=""' % n for n in range(10)) + b"/>", max_attributes=10).attrib) == 10


@pytest.mark.parametrize(
    ("data", "location", "words"),
    [
        (b"", "1:1", "does not start"),
        (b" \n", "2:1", "does not start"),
        (SECRET.encode(), "1:1", "does not start"),
        (b"<!-- DUPONT", "1:1", "ends inside"),
        (b"<?DUPONT ", "1:1", "ends inside"),
        (b"<DUPONT>\n</MARTIN>", "2:10", "tag name mismatch"),
        (b"<a><DUPONT></a>", "1:16", "tag name mismatch"),
        (b'<a DUPONT="1" DUPONT="1"/>', "1:25", "attribute redefined"),
        (b"<DUPONT:a/>", "1:10", "undefined namespace"),
        (b"<a>\x01DUPONT</a>", "1:4", "invalid char"),
        (b"<a/>DUPONT", "1:5", "document end"),
        (b"<a>\0</a>", "1:4", "invalid char"),
        (b"<a>DUPONT <!DOCTYPE a></a>", "1:12", "name required"),
    ],
)
def test_errors_say_where_and_never_what(data: bytes, location: str, words: str) -> None:
    problem = refusal(data).problems[0]
    assert (problem.code, problem.location) == ("102", location)
    assert words in problem.message


@pytest.mark.parametrize(
    "data",
    [
        b"<a " + b" ".join(b'x%d=""' % n for n in range(200_000)) + b"/>",
        b"<a " + b" ".join(b'xmlns:x%d="%d"' % (n, n) for n in range(100_000)) + b"/>",
        b"<a " + b" ".join(b'xmlns:x%d="%d"' % (n, n) for n in range(20_000)) + b">" + b"<x0:b/>" * 200_000 + b"</a>",
        b"<a>" + b"".join(b'<x xmlns="%d"/>' % n for n in range(200_000)) + b"</a>",
        b"<a>" + b"&#65;" * 1_000_000 + b"</a>",
        b"<a>" + b"<![CDATA[]]>" * 400_000 + b"</a>",
        b"<!--" + b"-" * 1_000_000,
        b"<?" * 1_000_000,
        b'<?xml version="1.0" encoding="' + b"a" * 1_000_000 + b'"?><a/>',
        b" " * 5_000_000 + b"<a/>",
    ],
)
def test_hostile_input_takes_linear_time(data: bytes) -> None:
    start = time.thread_time()
    with contextlib.suppress(Rejected):
        parse(data)
    assert time.thread_time() - start < 3


@settings(max_examples=300, deadline=2_000)
@given(st.data())
def test_mutated_documents_are_read_or_rejected(data: st.DataObject) -> None:
    document = bytearray(UNSTRUCTURED.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(document)))
        length = data.draw(st.integers(0, 40))
        document[at : at + length] = data.draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([b"<", b">", b"&", b"<!DOCTYPE a>", b"<!--", b"]]>", b'="', b"\xff\xfe"]),
            )
        )
    try:
        assert isinstance(parse(bytes(document)), etree._Element)
    except Rejected as rejected:
        said = rejected
    else:
        return
    assert {problem.code for problem in said.problems} <= {"102", "207"}
    assert "PAT-TROIS" not in str(said)


@settings(max_examples=200, deadline=2_000)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(data: bytes) -> None:
    with contextlib.suppress(Rejected):
        parse(data)


def test_a_huge_encapsulated_document_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """50 MB: the peak of a fresh process stays under 2.2 times the document, the document itself included."""
    body = base64.encodebytes(bytes(range(256)) * (36 * 4096))
    file = tmp_path / "huge.xml"
    file.write_bytes(UNSTRUCTURED.encode().replace(b"JVBERi0xLjQ=", body))
    size = file.stat().st_size
    assert size > 48_000_000
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pfiflow.cda.document import read_tree\n"
        "def peak():\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(status.split('VmHWM:')[1].split()[0]) * 1024\n"
        "before = peak()\n"
        "document, tree = read_tree(Path(sys.argv[1]).read_bytes())\n"
        "assert document.level == 'N1'\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 2.2 * size
