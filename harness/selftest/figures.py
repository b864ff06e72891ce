"""Every seed, count and threshold of the self-test, and nothing else: what is promised, in one place."""

SEED = 20_240
"""Of every dice in every part; a part adds its own name to it."""

DEVICE_TRIALS = 20
"""Workers whose runtime is elsewhere than asked, and as many that tell the truth."""

BROKEN_ROWS = 96
"""Test rows that the variants of a real export are asked for: the gate of a session asks for all of them, so it
sees no less."""
BROKEN_TEXT, CLEAN_TEXT = 12, 20
BROKEN_IMAGE, CLEAN_IMAGE = 7, 7
UNGATED_PASSES = 1
"""With parity switched off, at least so many broken exports of each model must slip through."""

COLLECTED_CASES = 2_000
COLLECTION_LIMIT_S = 5.0
COLLECTION_TRIALS = 5

KILLS = 160
"""SIGKILLs of contenders at random instants, from starting up to the last round."""
REFERENCE_KILLS = 40
KILLS_EACH = 5
"""Contenders killed in one measurement."""
NAMING_TRIALS = 20
DEATH_SESSIONS = 4
"""Real pytest sessions, each with as many comparisons as the toy suite has models and a kill in all but the first."""

PARENT_CPU_SHARE = 0.01
OVERHEAD_BLOCKS = 20
OVERHEAD_ROUNDS = 20
"""In each block, whose share of parent's CPU time is one datum."""
POLLING_BLOCKS = 20
BARE_TOLERANCE = 1.05
BARE_STARTS = 3
BARE_BLOCKS = 12
BARE_CALLS = 50
"""In each block and arm: percentiles are taken of so many calls, and blocks are paired."""

CARRY_TOLERANCE = 0.01
CARRY_STARTS = 4
CARRY_ROUNDS = 150
"""In each start, passive."""
SPINNING_CHECKS = 20
SPINNING_ROUNDS = 20
"""In each check."""

SESSION_KILLS = 50
"""SIGKILLs of whole pytest sessions at random instants, each followed by sessions that resume it."""
SESSION_LANES = 2
"""Folders in which sessions are killed side by side."""
FORGETFUL_CHAINS = 4
"""Killed sessions that are run again without being resumed."""
ORPHAN_LIMIT_S = 5.0
ORPHAN_TRIALS = 10
"""Workers inside a long call whose session is killed, and as many whose tie to it is held by somebody else."""
