"""The contracts that kinds, backends and sources keep: frozen values that cost next to nothing to import."""
