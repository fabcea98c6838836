"""Benchmarks: `python -m benchmarks.outbound`. They print ratios of what one run measured; no test times anything."""
