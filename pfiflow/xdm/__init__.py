"""IHE XDM archives: pack and unpack."""
