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
OVERHEAD_PAIRS = 25
"""Pairs of a short and a long call in each block; the median of their differences is one datum."""
POLL_S = 2e-4
"""Pause of the parent that polls."""
BARE_TOLERANCE = 1.05
BARE_STARTS = 8
"""Fresh pairs, which differ by a few percent; their interval is that of starts."""
BARE_BLOCKS = 20
BARE_CALLS = 50
"""In each block and arm, one of each in turn: percentiles are taken of so many calls, and blocks are paired."""

LONG_STARTS, LONG_BLOCKS, LONG_CALLS = 3, 8, 20
"""The same with calls ten times as long, beside a busy parent."""

CARRY_TOLERANCE = 0.01
CARRY_STARTS = 4
CARRY_MATES = 3
"""Other arms of the comparison, each of which may leave something behind."""
CARRY_LOOPS = 6
CARRY_ROUNDS = 400
"""In each start."""
SPINNING_CHECKS = 20
SPINNING_ROUNDS = 80
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

# Of verdicts on speed: false-alarms, power
COMPARISONS = 1_000
"""Of identical arms, on each simulated machine."""
FALSE_ALARMS = 4
FALSE_START_SD = 0.01
"""Between fresh workers of one thing; twice what power is promised at."""
CONTROL_COMPARISONS = 200
"""Of each positive control."""
RETURNING_ALARMS = 20
"""False alarms among them, at least, that the safety kept away."""
UNLUCKY = 1.05
"""Work of a reference that fresh workers do not cure: a layout in memory, a neighbour's cache."""
NAIVE_GATE = 1.05
"""What a gate without statistics allows the mean to be slower."""
NAIVE_ROUNDS = 60

POWER_COMPARISONS = 500
POWER_START_SD = 0.005
MORE_WORK = 1.05
MISSED = 1
IDLE_ROUNDS = 60
BOUNDARY_COMPARISONS = 2_000
BOUNDARY_WORK = 1.02
BOUNDARY_CALLED = 20
"""Of those, called slower: 1 %."""
ALONE_STARTS = 3
ALONE_FOUND = 100
"""Of CONTROL_COMPARISONS, at most, where the spread between starts is known from one arm alone."""

# Of verdicts on accuracy: non-inferiority
ERRING = 0.05
"""Most that a loss which is exactly the margin may be called proven, or excluded."""
MARGINS = (0.005, 0.01, 0.02)
SIZES = (100, 133, 200, 300, 408, 600, 820, 1_000, 1_500, 2_000, 3_000)
DISCORDANCES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)
"""Beside the margin itself, below which there is no discordance."""
SIMULATED = 10_000
SIMULATED_ROWS, SIMULATED_MARGIN = 1_000, 0.01
SIMULATED_ERRING = 500
"""Of those: 5 %."""
UNCORRECTED_ERRING = 50
"""Settings, at least, at which the uncorrected interval errs more."""
PASSING_MARGIN = 0.01
PASSING = 0.90
PASSING_DISCORDANCES = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)

CHEATS = 3
CHEAT_ROUNDS = 6
"""In each start of theirs."""

# Of real workers: real-workers, regressions
REAL_MEASUREMENTS = 2
REAL_ROUNDS = 400
"""In four starts: as many rounds as a session has at most; fifteen starts took 22 minutes and found no more."""
REAL_SAME, REAL_MORE = 6, 2
"""Workers of the same thing, and with a twentieth more work, in each of them."""
REAL_REFERENCES = 5
"""Of the same, that each of those with more work is held against."""
REAL_ROWS = 96
REAL_BUDGET_S = 200.0

STORED_RUNS = 5
TODAYS_RUNS = 40
HEAVIER_RUNS = 5
"""Of today's, in which an arm with twice the work is measured too."""
RUN_ROUNDS = 60
UNWIDENED = 1
"""Runs, at least, that part from a stored one where nothing but rounds is thought to differ."""
