"""The codes of findings: what each says in a few words, and how much it matters. docs/lint.md explains every one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from pfiflow.errors import Severity

__all__ = ["CODES", "Code"]


@frozen
class Code:
    """One kind of finding."""

    severity: Severity
    title: str


def _codes(severity: Severity, **titles: str) -> Mapping[str, Code]:
    return {name.replace("_", "-"): Code(severity, title) for name, title in titles.items()}


CODES: Final[Mapping[str, Code]] = {
    # The file cannot be loaded: nothing starts.
    **_codes(
        "error",
        yaml="not YAML, or YAML that route files do not use",
        file="a file cannot be read",
        limit="larger, deeper or more than route files may be",
        include="files include each other in a circle",
        unknown="an option that does not exist",
        missing="a required option is missing",
        type="a value of the wrong type",
        value="a value that its option does not take",
        duplicate="a name given twice",
        order="a branch in the wrong place",
        component="no such step, source or sink there",
        channel="a channel that is not declared",
        endpoint="an endpoint that is not declared",
        expression="not a CEL expression",
        placeholder="not a placeholder",
        template="a template that is wrong, or not there",
        parameter="a parameter that its template does not have, or where it cannot stand",
        override="nothing to override, or not so",
        python="no processor in a module of one's own",
        secret="a secret written out, or empty",  # noqa: S106 - says what is wrong
    ),
    # It loads, and goes wrong with the first exchange.
    **_codes(
        "error",
        body_type="a step gets a body that it does not take",
        channel_types="a channel gets bodies of several types",
        not_durable="a body that cannot cross a channel",
        not_a_sequence="split gets a body that has no parts",
        not_a_condition="a condition that is neither true nor false",
        types_differ="an expression puts together what does not go together",
        unknown_field="an expression names a field that the body does not show",
        no_steps="a route without steps",
        two_readers="two routes read one channel",
        port="two routes listen on one port",
        claimed_twice="two routes read one mailbox, or write one file",
        options="options that do not go together",
    ),
    # It runs, and probably does not do what is meant.
    **_codes(
        "warning",
        unresolved="a placeholder without a value here",
        missing_secret="a secret without a value here",  # noqa: S106 - says what is wrong
        open_secret="a secret that every user can read",  # noqa: S106 - says what is wrong
        unknown_header="a header that nothing sets",
        header_not_always="a header that is set on some ways only",
        missing_header="a step reads a header that nothing sets",
        header_value="a header with a value that its reader does not know",
        unreachable="a step or branch that nothing reaches",
        never="a condition that never holds",
        always="a condition that always holds",
        unused="a channel or endpoint that no route uses",
        no_reader="a channel that nothing takes messages from",
        no_writer="a channel that nothing puts messages into",
        no_routes="a flow without routes",
        dropped="something made or taken in that goes nowhere",
        may_drop="something that may go nowhere, and counts as done",
        no_idempotent="the same may be taken over twice",
        no_effect="a step that changes nothing",
        several_sinks="a retry sends a second time",
        after_sink="a check after the sending",
        endless_retry="a message tried again for ever",
        no_retry="a message given up at its first failure",
        delay_cut="a first delay longer than the longest",
        silencer="a `lint: ignore` that is wrong or silences nothing",
    ),
    **_codes(
        "information",
        held="a channel that starts held",
        tells_nobody="a route that tells nobody of what it refuses",
    ),
}
