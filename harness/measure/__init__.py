"""Timing: workers that each hold one backend, and the rounds that put them against each other. See README.md."""
