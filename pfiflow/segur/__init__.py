"""The Ségur volets: transmissions, rules, receipts."""
