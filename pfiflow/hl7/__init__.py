"""HL7 v2: ER7 reader and writer, MLLP framing, acknowledgements, conformance."""
