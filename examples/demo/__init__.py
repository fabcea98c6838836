"""`make demo`: two hospitals and everybody between them, on this machine, over the real protocols.

`scenario` says what is sent and what must become of it, `world` runs the servers and both PFIs, `story` tells what
happened, `screen` shows it. Patients are synthetic.
"""
