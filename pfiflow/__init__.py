"""pfiflow: the open toolkit for a French hospital's plateforme d'intermédiation (PFI)."""
