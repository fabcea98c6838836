"""A real IMAP server on loopback, for the demo and the tests: RFC 3501 with STARTTLS, IDLE, MOVE and UIDPLUS.

`server` does the I/O; everything else is bytes in, bytes out.
"""
