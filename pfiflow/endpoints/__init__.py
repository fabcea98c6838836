"""Sources and sinks: each joins one protocol library to the flow."""
