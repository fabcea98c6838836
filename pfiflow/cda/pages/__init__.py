"""Paper: narrative blocks laid out on A4 pages and drawn as PDF/A-1b."""
