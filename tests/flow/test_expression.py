from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import ConfigError
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.expression import FUNCTIONS, Expression


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("headers.size == 'small'", True),
        ('headers["flour-lot"] + id', "a7x1"),
        ("has(headers.nobody)", False),
        ("origin.startsWith('counter')", True),
        ("[1, 2].exists(n, n == 2)", True),
        ("[1, 2].map(n, n + 1)", [2, 3]),
        ("size(headers)", 2),
    ],
)
def test_values(text: str, value: object) -> None:
    exchange = Exchange("x1", b"", {"size": "small", "flour-lot": "a7"}, origin="counter 1")
    assert Expression(text).evaluate(exchange) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("body.a.b + headers.size", "1small"),
        ("body . a['b'] == '1' && body['c'] == 2", True),
        ("has(body.a) && !has(body.z) && !has(body.a.z)", True),
        ("body.map(name, name).size() + size(headers)", 4),
        ("headers.exists(body, body == 'size') && headers[id] == 'small'", True),
        (r"'it\'s ' + body.a.b", "it's 1"),
        ("'body.' + body.a.b // it's body.c", "body.1"),
        ('"""\'""" + body.a.b + """\'"""', "'1'"),
        ("headers.size.size() == 5 && headers.size.startsWith('s')", True),
        ("headers == {'size': 'small', 'flour-lot': 'a7'}", True),
    ],
)
def test_sees_all_that_it_names(text: str, value: object) -> None:
    exchange = Exchange("size", b"", {"size": "small", "flour-lot": "a7"})
    assert Expression(text).evaluate(exchange, lambda _body: {"a": {"b": "1"}, "c": 2}) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "it ends too early"),
        ("id ==", 1, 6, "it ends too early"),
        ("id ==\n  )", 2, 3, "unexpected ')'"),
        ("'a", 1, 1, "a string left open"),
        ("id == nope", 1, 7, "unknown name 'nope'"),
        ("'nope' == id.nope || nope", 1, 22, "unknown name 'nope'"),
        ("id ==\n 'é' + bodi.x", 2, 8, "Did you mean 'body'?"),
        ("headers.flour-lot", 1, 15, 'headers["flour-lot"]'),
        ("id.startswith('a')", 1, 4, "Did you mean 'startsWith'?"),
        ("open('/etc/passwd')", 1, 1, "unknown function 'open'"),
        ("id" + " + id" * 2000, 1, 1, "longer than 4096 characters"),
    ],
)
def test_refused_with_the_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Expression(text)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


TIME = "timestamp('2020-01-02T03:04:05Z')"
CALLS = {
    **dict.fromkeys(("dyn", "int", "uint", "double", "string", "type"), "{}(1)"),
    **dict.fromkeys(("bytes", "size"), "{}('a')"),
    **dict.fromkeys(("contains", "endsWith", "matches", "startsWith"), "'a'.{}('a')"),
    **{name: f"{TIME}.{{}}()" for name in FUNCTIONS if name.startswith("get")},
    "duration": "{}('1s')",
    "timestamp": "{}('2020-01-02T03:04:05Z')",
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_known_function_exists(name: str) -> None:
    assert Expression(CALLS[name].format(name)).evaluate(Exchange("x", b"")) is not None


@given(st.text(max_size=40) | st.text("body.headers()[]'\"&|! =", max_size=40))
def test_any_text_compiles_or_is_refused_with_a_place(text: str) -> None:
    try:
        Expression(text)
    except ConfigError as error:
        place = (error.line, error.column)
    else:
        place = (1, 1)
    assert 1 <= place[0] <= len(text) + 1
    assert place[1] >= 1
