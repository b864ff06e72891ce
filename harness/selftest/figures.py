"""Every seed, count and threshold of the self-test: what it promises, in one place."""

SEED = 20_240  # of every random generator, together with the name of its use
WORKER_TIMEOUT_S, REAL_TIMEOUT_S = 60.0, 300.0

# device-truth, cheats
DEVICE_TRIALS = 20  # on the wrong device, and as many on the right one
CHEAT_ROUNDS = 6  # in each launch

# collection
COLLECTED_CASES = 2_000
COLLECTION_LIMIT_S = 5.0
COLLECTION_TRIALS = 5

# broken-exports
BROKEN_ROWS = 96  # test rows of each check; a session checks all rows, so it sees no less
BROKEN_TEXT, CLEAN_TEXT = 12, 20
BROKEN_IMAGE, CLEAN_IMAGE = 7, 7
UNGATED_PASSES = 1  # broken exports of each model that must pass once a check is switched off

# non-inferiority
ERROR_RATE = 0.05  # largest allowed chance that a drop of exactly the margin is called proven, or excluded
MARGINS = (0.005, 0.01, 0.02)
SIZES = (100, 133, 200, 300, 408, 600, 820, 1_000, 1_500, 2_000, 3_000)
DISCORDANCES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)  # beside the margin, the smallest possible share
SIMULATED = 10_000
SIMULATED_ROWS, SIMULATED_MARGIN = 1_000, 0.01
SIMULATED_ERRORS = 500  # 5 % of SIMULATED
UNCORRECTED_ERRORS = 50  # settings at which the uncorrected interval must exceed ERROR_RATE
PASSING_MARGIN, PASSING = 0.01, 0.90
PASSING_DISCORDANCES = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)

# false-alarms
COMPARISONS = 1_000  # of identical arms, on each simulated machine
FALSE_ALARMS = 4
ALARM_LAUNCH_SD = 0.01  # between fresh workers of one backend: twice POWER_LAUNCH_SD
CONTROL_COMPARISONS = 200  # of each positive control
RETURNING_ALARMS = 20  # of CONTROL_COMPARISONS that must return once a safety is switched off
UNLUCKY = 1.05  # work of a reference that stays slower in every launch, as a bad memory layout makes it
NAIVE_GATE = 1.05  # ratio of means above which a gate without statistics fails
NAIVE_ROUNDS = 60

# power
POWER_COMPARISONS = 500
POWER_LAUNCH_SD = 0.005
MORE_WORK, MISSED = 1.05, 1
IDLE_ROUNDS = 60
BOUNDARY_COMPARISONS = 2_000
BOUNDARY_WORK, BOUNDARY_SLOWER = 1.02, 20  # 1 % of BOUNDARY_COMPARISONS
ALONE_LAUNCHES = 3
ALONE_SLOWER = 100  # most of CONTROL_COMPARISONS that one arm's own spread between launches may call slower

# real-workers
REAL_MEASUREMENTS = 2
REAL_ROUNDS = 400  # over four launches, the most a session runs; fifteen took 22 minutes and detected no more
REAL_SAME, REAL_MORE = 6, 2  # workers with the same work and with 5 % more, in each measurement
REAL_REFERENCES = 5  # identical workers that each worker with more work is compared with
REAL_ROWS = 96
REAL_BUDGET_S = 200.0

# regressions
STORED_RUNS, TODAYS_RUNS = 5, 40
HEAVIER_RUNS = 5  # of today, which also measure an arm with twice the work
RUN_ROUNDS = 60
UNWIDENED = 1  # unchanged runs that must fall below a stored one if only rounds are thought to vary

# worker-deaths
KILLS = 160  # contenders, at random instants from launch to the last round
REFERENCE_KILLS = 40
KILLS_EACH = 5  # contenders in one measurement
NAMING_TRIALS = 20
DEATH_SESSIONS = 4  # pytest sessions with a worker killed in every comparison but the first

# session-deaths
SESSION_KILLS = 50  # pytest sessions, at random instants, each then resumed
SESSION_LANES = 2  # folders in which sessions run side by side
FORGETFUL_CHAINS = 4  # killed sessions that run again without being resumed
ORPHAN_LIMIT_S = 5.0
ORPHAN_TRIALS = 10

# overhead
PARENT_CPU_SHARE = 0.01
OVERHEAD_BLOCKS = 20
OVERHEAD_PAIRS = 25  # of a short and a long call in each block, which yields the median of their differences
POLL_S = 2e-4  # pause of a parent that polls
BARE_TOLERANCE = 1.05
BARE_LAUNCHES, BARE_BLOCKS, BARE_CALLS = 8, 20, 50  # fresh pairs, blocks of each, calls of each block and arm
LONG_LAUNCHES, LONG_BLOCKS, LONG_CALLS = 3, 8, 20  # the same for calls ten times as long, beside a busy parent

# carry-over
CARRY_TOLERANCE = 0.01
CARRY_LAUNCHES = 4
CARRY_MATES = 3  # other arms of the comparison, each of which may disturb the next
CARRY_LOOPS = 6
CARRY_ROUNDS = 400  # in each launch
SPINNING_CHECKS = 20
SPINNING_ROUNDS = 80  # in each check
