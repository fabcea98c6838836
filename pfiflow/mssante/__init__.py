"""MSSanté mail: messages, notifications."""
