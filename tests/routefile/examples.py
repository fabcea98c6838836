"""Route files that are right, and route files with one thing wrong; the loader and the schema are tested by both."""

from __future__ import annotations

from attrs import frozen

__all__ = ["RIGHT", "WRONG", "Wrong"]

FULL = """\
store: {path: ./flour.db, retention: {done: 7d, dead: 90d, journal: 180d}}
engine: {drain: 30s, max-in-flight: 64}
channels:
  orders:
    key: headers.customer
    hold: true
    redelivery: {initial-delay: 500ms, factor: 1.5, max-age: 14d}
  dough: {workers: 2, max-waiting: 100, description: Rests overnight}
  copies:
endpoints:
  front: {counter: {listen: "127.0.0.1:8080"}}
  high-street: {shop: {address: "shop.bakery.example:443", password: "${env:SHOP_KEY}"}}
routes:
  - id: take-orders
    from: {endpoint: front}
    steps:
      - read-order:
      - set-header: {size: "'small'", flour-lot: "id"}
      - validate: {when: has(headers.customer), message: Who is it for?, code: "101"}
      - idempotent: {key: id, scope: orders, retention: 30d}
      - throttle: {rate: 10, per: 1s}
      - choice:
          - when: headers.size == 'small'
            steps: [{to: {channel: orders}}]
          - when: |
              headers.size == 'large'
                && id != ''
            steps:
              - log: {message: "large: {size}"}
          - otherwise: [{to: {channel: orders}}]
      - wire-tap: {channel: copies}
    on-rejected:
      - log: {message: "refused {error-code}", level: warning}
      - to: {bin: }
  - id: knead
    from: {channel: orders}
    steps:
      - filter: {when: "true"}
      - enrich: {steps: [{taste: }], headers: [size]}
      - delay: {duration: 5ms}
      - knead: {}
      - to: {channel: dough}
  - id: bake
    from: {channel: dough}
    steps:
      - bake: {degrees: 240, steam: true}
      - multicast:
          - steps: [{split: {steps: [taste: ]}}]
          - steps: [{to: {endpoint: high-street}}]
  - id: copies
    from: {channel: copies}
    steps: [{to: {bin: {}}}]
  - id: at-night
    from: {alarm: }
    steps: [{log: {message: good night}}]
"""

COUNTER = """\
routes:
  - id: r
    from:
      counter:
        listen: "[::1]:80"
        name: '22:22'
        seats: 0x0C
        warm: FALSE
        patience: 1.5h
        max-order: 64KiB
        price-list: lists/prices.csv
        till: {pin: "${file:pin}", float: 2}
        kind: drive-in
        languages: [on, "no", 1_000]
        rebates: {staff: .5, nobody: 0}
        bells: {Front Door: {pin: "${env:PIN}"}}
        payment: {terminal: "t:1", cash: true}
        greeting: "headers['customer'] + '!'"
    steps: [{to: {shop: {address: "s:1", password: null, tokens: ["${env:A}", "${env:B}"]}}}]
"""

FILLED = """\
routes:
  - id: r
    from: {counter: {listen: "${env:HOST:-localhost}:${env:PORT:-80}", seats: "${env:SEATS:-3}", warm: "${env:W:-true}",
                     kind: "${env:KIND:-drive-in}", patience: "${env:P:-5m}", rebates: {a: "${env:R:-1.5}"}}}
    steps: []
"""

RECOMPOSED = """\
include: []
templates:
  shop:
    doc: One of our shops.
    parameters:
      name: {doc: Its name., type: name}
      tongues: {doc: Spoken there., type: list, default: [fr]}
      seats: {doc: Its stools., type: integer, default: 4, example: 8}
      key: {doc: Its back door., type: secret, default: "${env:SHOP_KEY}"}
    channels:
      "bread-${parameter:name}": {description: "For ${parameter:name}"}
    endpoints:
      "door-${parameter:name}": {shop: {address: "${parameter:name}.example:443", password: "${parameter:key}"}}
    routes:
      - id: "counter-${parameter:name}"
        from: {counter: {listen: "h:1", languages: "${parameter:tongues}", seats: "${parameter:seats}"}}
        steps:
          - id: note
            use: {note: {text: from a shop}}
          - to: {channel: "bread-${parameter:name}"}
  note:
    doc: A line.
    parameters: {text: {doc: What it says.}}
    steps:
      - id: say
        log: {message: "${parameter:text}"}
routes:
  - use: {shop: {name: north}}
  - use: {shop: {name: south, tongues: [fr, en], seats: 8}}
override:
  store: {path: other.db}
  channels: {bread-south: {workers: 1}}
  endpoints: {door-south: {shop: {address: "elsewhere.example:443"}}}
  templates: {note: {steps: {say: {set: {log: {level: debug}}}}}}
  routes:
    counter-north: {remove: true}
    counter-south:
      from: {counter: {warm: false}}
      steps:
        note: {before: [{taste: }], after: [{python: {"json:loads": }}]}
"""

RIGHT = {
    "recomposed": RECOMPOSED,
    "empty": "",
    "nothing": "channels:\nendpoints:\nroutes:\ninclude:\nstore:\nengine:\n",
    "full": FULL,
    "counter": COUNTER,
    "filled": FILLED,
}


@frozen
class Wrong:
    """One thing wrong: where, in which words; `schema` says whether the structure alone is wrong."""

    text: str
    line: int
    column: int
    words: str
    schema: bool = True


def _step(text: str, column: int, words: str, *, schema: bool = True, line: int = 5) -> Wrong:
    head = "channels: {c: }\nroutes:\n  - id: r\n    from: {alarm: }\n"
    return Wrong(f"{head}    steps: [{text}]\n", line, column + 12, words, schema)


def _counter(text: str, column: int, words: str, *, schema: bool = True) -> Wrong:
    head = "routes:\n  - id: r\n    steps: []\n    from:\n      counter:\n        listen: x:1\n"
    return Wrong(f"{head}        {text}\n", 7, column + 8, words, schema)


WRONG: dict[str, Wrong] = {
    # -- the file
    "root-list": Wrong("- a", 1, 1, "a route file is a mapping"),
    "root-text": Wrong("a", 1, 1, "a route file is a mapping"),
    "root-key": Wrong("rotues: []", 1, 1, "unknown option 'rotues'. Did you mean 'routes'?"),
    "routes-mapping": Wrong("routes: {a: b}", 1, 9, "expected a list of routes, found a mapping"),
    "channels-list": Wrong("channels: [a]", 1, 11, "expected a mapping by name, found a list"),
    "channel-name": Wrong("channels: {To DMP: }", 1, 12, "lower-case letters, digits and hyphens"),
    "step-id": Wrong("routes: [{id: r, from: {alarm: }, steps: [{id: A, taste: }]}]", 1, 48, "lower-case letters"),
    "step-only-id": Wrong("routes: [{id: r, from: {alarm: }, steps: [{id: a}]}]", 1, 43, "found 0 keys"),
    "step-three": Wrong("routes: [{id: r, from: {alarm: }, steps: [{id: a, taste: , bake: }]}]", 1, 43, "2 keys"),
    "python-two": Wrong("routes: [{id: r, from: {alarm: }, steps: [{python: {a: , b: }}]}]", 1, 52, "found 2 keys"),
    "use-two": Wrong("routes: [{use: {a: , b: }}]", 1, 11, "a mapping of one key"),
    "template-doc": Wrong("templates: {a: {steps: []}}", 1, 13, "required and missing: doc"),
    "parameter-type": Wrong(
        "templates: {a: {doc: d, parameters: {b: {doc: d, type: c}}, steps: []}}", 1, 56, "one of text"
    ),
    "override-key": Wrong("override: {channel: {}}", 1, 12, "Did you mean 'channels'?"),
    "override-remove": Wrong("override: {routes: {a: {remove: yes}}}", 1, 33, "expected one of true"),
    "override-endpoint": Wrong("override: {endpoints: {a: {}}}", 1, 27, "no endpoint 'a' to override"),
    "override-name": Wrong("override: {channels: {A b: {}}}", 1, 23, "lower-case letters"),
    "channel-option": Wrong("channels: {c: {hodl: true}}", 1, 16, "unknown option 'hodl'. Did you mean 'hold'?"),
    "channel-snake": Wrong("channels: {c: {max_waiting: 1}}", 1, 16, "Did you mean 'max-waiting'?"),
    "channel-range": Wrong("channels: {c: {workers: 0}}", 1, 25, "must be at least 1. Example: workers: 4"),
    "channel-key": Wrong("channels: {c: {key: }}", 1, 21, "", schema=False),
    "channel-key-type": Wrong("channels: {c: {key: 5}}", 1, 21, 'found a number. Put it in quotes: "5".'),
    "redelivery": Wrong("channels: {c: {redelivery: {max-age: 14}}}", 1, 38, "a duration with its unit"),
    "redelivery-null": Wrong("channels: {c: {redelivery: {max-delay: }}}", 1, 40, "found nothing. Example"),
    "store-option": Wrong("store: {paths: x}", 1, 9, "Did you mean 'path'?"),
    "store-twice": Wrong("store: {}\nstore: {}", 2, 1, "given twice", schema=False),
    "engine-text": Wrong("engine: fast", 1, 9, "expected a mapping of options (drain, "),
    "include-text": Wrong(
        "include: a.yaml", 1, 10, "expected a list of files, found text. Example: include: [settings"
    ),
    "include-env": Wrong('include: ["${env:X}.yaml"]', 1, 11, "takes no placeholder", schema=False),
    "include-missing": Wrong("include: [none.yaml]", 1, 11, "cannot be read: No such file", schema=False),
    # -- endpoints and sources
    "endpoint-two": Wrong("endpoints: {e: {bin: , alarm: }}", 1, 16, "one key: a component's name with its options"),
    "endpoint-processor": Wrong("endpoints: {e: {bake: }}", 1, 17, "'bake' is a processor; it stands under a step"),
    "from-missing": Wrong(
        "routes: [{id: a, steps: []}]", 1, 10, "required and missing: from. Example: from: {channel:"
    ),
    "from-text": Wrong("routes: [{id: a, from: alarm, steps: []}]", 1, 24, "Write it as `alarm: {}`."),
    "from-uri": Wrong('routes: [{id: a, from: "alarm:x", steps: []}]', 1, 24, "found text"),
    "from-empty": Wrong("routes: [{id: a, from: {}, steps: []}]", 1, 24, "found 0 keys"),
    "from-unknown": Wrong(
        "routes: [{id: a, from: {alram: }, steps: []}]", 1, 25, "unknown source 'alram'. Did you mean 'alarm'?"
    ),
    "from-sink": Wrong("routes: [{id: a, from: {bin: }, steps: []}]", 1, 25, "'bin' is a sink; it stands under `to`"),
    "from-channel": Wrong(
        "routes: [{id: a, from: {channel: x}, steps: []}]", 1, 34, "unknown channel 'x'", schema=False
    ),
    "from-endpoint": Wrong(
        "routes: [{id: a, from: {endpoint: x}, steps: []}]", 1, 35, "unknown endpoint 'x'", schema=False
    ),
    "from-endpoint-sink": Wrong(
        "endpoints: {x: {bin: }}\nroutes: [{id: a, from: {endpoint: x}, steps: []}]",
        2,
        35,
        "a source is needed",
        schema=False,
    ),
    "id-missing": Wrong(
        "routes: [{from: {alarm: }, steps: []}]", 1, 10, "required and missing: id. Example: id: to-shop"
    ),
    "id-number": Wrong("routes: [{id: 1, from: {alarm: }, steps: []}]", 1, 15, "expected a name, found a number"),
    "id-twice": Wrong(
        "routes:\n  - {id: a, from: {alarm: }, steps: []}\n  - {id: a, from: {alarm: }, steps: []}",
        3,
        10,
        "route 'a' is declared twice",
        schema=False,
    ),
    "steps-null": Wrong("routes: [{id: a, from: {alarm: }, steps: }]", 1, 42, "expected a list, found nothing"),
    # -- steps
    "step-text": _step("taste", 1, "Write it as `taste: {}`."),
    "step-two": _step("{taste: , knead: }", 1, "found 2 keys. Options are indented below the name."),
    "step-unknown": _step("{baek: }", 2, "unknown step 'baek'. Did you mean 'bake'?"),
    "step-eip": _step("{chioce: }", 2, "Did you mean 'choice'?"),
    "step-sink": _step("{bin: }", 2, "'bin' is a sink; it stands under `to`"),
    "step-option": _step("{taste: {salt: 1}}", 10, "unknown option 'salt'. Known: none."),
    "step-list": _step("{bake: [1]}", 8, "expected a mapping of options (degrees, steam), found a list"),
    "choice-mapping": _step("{choice: {when: id, steps: []}}", 10, "expected a list, found a mapping"),
    "choice-branch": _step("{choice: [{steps: []}]}", 11, "expected a mapping with when or otherwise"),
    "choice-both": _step("{choice: [{when: 'true', steps: [], otherwise: []}]}", 37, "unknown option 'otherwise'"),
    "choice-steps": _step("{choice: [{when: 'true'}]}", 11, "required and missing: steps"),
    "choice-order": _step(
        "{choice: [{otherwise: []}, {when: 'true', steps: []}]}", 11, "is the last branch", schema=False
    ),
    "filter-bool": _step("{filter: {when: true}}", 17, 'found true. Put it in quotes: "true".'),
    "filter-cel": _step("{filter: {when: headers.x ==}}", 29, "it ends too early", schema=False),
    "filter-name": _step("{filter: {when: 1 < bodi.x}}", 21, "unknown name 'bodi'. Did you mean 'body'?", schema=False),
    "filter-call": _step("{filter: {when: \"id.startswith('a')\"}}", 21, "Did you mean 'startsWith'?", schema=False),
    "filter-hyphen": _step("{filter: {when: headers.flour-lot == ''}}", 31, 'headers["flour-lot"]', schema=False),
    "enrich-headers": _step("{enrich: {steps: []}}", 2, "required and missing: headers. Example: headers: [address]"),
    "wire-tap": _step(
        "{wire-tap: {channel: d}}", 22, "unknown channel 'd'; declare it under `channels`. Known: c.", schema=False
    ),
    "set-header-null": _step("{set-header: }", 14, "expected a mapping, found nothing"),
    "set-header-number": _step("{set-header: {a: 1}}", 18, 'Put it in quotes: "1".'),
    "validate-code": _step("{validate: {when: id, message: m, code: 207}}", 41, 'Put it in quotes: "207".'),
    "throttle-rate": _step("{throttle: {rate: 0}}", 19, "rate: must be at least 1. Example: rate: 10"),
    "throttle-float": _step("{throttle: {rate: 1.5}}", 19, "rate: expected a whole number"),
    "delay-unit": _step("{delay: {duration: 5 s}}", 20, "expected a duration with its unit"),
    "delay-zero": _step("{idempotent: {key: id, retention: 0s}}", 35, "must be more than 0", schema=False),
    "log-level": _step(
        "{log: {message: m, level: warn}}", 27, "one of debug, info, warning, error. Did you mean 'warning'?"
    ),
    "log-brace": _step("{log: {message: 'a {b'}}", 17, "a brace is left open", schema=False),
    "log-field": _step("{log: {message: '{a.b:>9}'}}", 17, "a field is {header-name}", schema=False),
    "to-channel-null": _step("{to: {channel: }}", 16, "channel: expected text, found nothing"),
    "to-text": _step("{to: c}", 6, "one key: channel, endpoint or the name of a sink"),
    "to-source": _step("{to: {alarm: }}", 7, "'alarm' is a source; it stands under `from`"),
    "cross": _step("{bake: {degrees: 260, steam: true}}", 2, "bake: no steam above 250 degrees", schema=False),
    # -- options of every type
    "listen": Wrong("routes: [{id: r, steps: [], from: {counter: {listen: here}}}]", 1, 54, "such as 127.0.0.1:2575"),
    "listen-missing": Wrong(
        "routes: [{id: r, steps: [], from: {counter: }}]", 1, 36, 'missing: listen. Example: listen: "127.0.0.1:8080"'
    ),
    "port": _counter("payment: {terminal: 'a:99999'}", 21, "expected host:port", schema=False),
    "text-number": _counter("name: 2.10", 7, 'found a number. Put it in quotes: "2.10".'),
    "text-null": _counter("name:", 6, "expected text, found nothing"),
    "text-list": _counter("name: [a]", 7, "expected text, found a list"),
    "int-text": _counter("seats: many", 8, "expected a whole number. Example: seats: 4"),
    "int-quoted": _counter("seats: '4'", 8, "expected a whole number, found text"),
    "int-bool": _counter("seats: true", 8, "expected a whole number"),
    "int-range": _counter("seats: 13", 8, "must be at most 12"),
    "int-huge": _counter(
        f"seats: {'9' * 400}",
        8,
        "expected a whole number",
    ),
    "bool-yes": _counter("warm: yes", 7, "expected true or false. Example: warm: true"),
    "bool-number": _counter("warm: 1", 7, "expected true or false"),
    "size-unit": _counter("max-order: 64", 12, "a size with its unit, such as 16MiB, found a number"),
    "size-float": _counter("max-order: 1.5MB", 12, "a size with its unit"),
    "path-empty": _counter("price-list: ''", 13, "expected a path"),
    "literal": _counter("kind: walkin", 7, "expected one of walk-in, drive-in. Did you mean 'walk-in'?"),
    "literal-list": _counter("kind: [walk-in]", 7, "expected one of walk-in, drive-in, found a list"),
    "list-text": _counter("languages: fr", 12, "expected a list, found text. Example: languages: [fr, en]"),
    "list-item": _counter("languages: [fr, true]", 17, 'Put it in quotes: "true".'),
    "map-list": _counter("rebates: [1]", 10, "expected a mapping, found a list. Example: rebates: {staff: 0.5}"),
    "map-value": _counter("rebates: {a: much}", 14, "a: expected a number"),
    "map-infinite": _counter("rebates: {a: .inf}", 14, "a: expected a number", schema=False),
    "nested-missing": _counter("till: {float: 3}", 1, "till: required and missing: pin. Example: pin: "),
    "nested-range": _counter("till: {pin: '${env:PIN}', float: -1}", 34, "float: must be at least 0"),
    "union": _counter("payment: {gold: 1}", 10, "expected a mapping with cash or terminal"),
    "expression": _counter("greeting: ''", 11, "it ends too early"),
    # -- secrets and placeholders
    "secret": _counter("till: {pin: '1234'}", 13, "a secret is written as a reference only"),
    "secret-number": _counter("till: {pin: 1234}", 13, "a secret is written as a reference only"),
    "secret-part": _counter("till: {pin: 'a${env:PIN}'}", 13, "a secret is written as a reference only"),
    "secret-default": _counter("till: {pin: '${env:PIN:-0000}'}", 13, "without a default"),
    "secret-list": _counter("bells: {b: {pin: ['${env:PIN}']}}", 18, "expected a reference to a secret"),
    "placeholder": _counter("name: 'a ${HOME}'", 10, "expected ${env:NAME}", schema=False),
    "unresolved": _counter("name: '${env:NOWHERE}'", 8, "environment variable NOWHERE is not set", schema=False),
    "unresolved-file": _counter("name: '${file:nowhere}'", 8, "file 'nowhere' cannot be read", schema=False),
}
