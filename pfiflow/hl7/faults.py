"""Faults of a message before anybody asks what it means: each carries the `Problem` to acknowledge."""

from __future__ import annotations

from pfiflow.errors import Problem, ProtocolError

__all__ = ["CharsetError", "MessageError"]


class MessageError(ProtocolError):
    """The bytes are no readable ER7 message. `problem` is the answer to give: put it in an AE acknowledgement."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class CharsetError(MessageError):
    """MSH-18 names a character set that we do not read, or a value does not belong to the declared one."""
