"""The engine: exchanges, routes, channels. It knows no word of health care."""
