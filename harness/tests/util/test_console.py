"""Progress of a run: one live line on a terminal, plain lines in a log; nothing of either without both."""

import io
import logging

import pytest

from harness.util.console import Progress, format_seconds, quiet


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self):
        return self.now


def screen(text, width=80):
    """Return the lines that a terminal shows after this text."""
    lines, column = [[]], 0
    for character in text:
        if character == "\r":
            column = 0
        elif character == "\n":
            lines, column = [*lines, []], 0
        else:
            assert column < width
            lines[-1][column:] = [*character, *lines[-1][column + 1 :]]
            column += 1
    return ["".join(line).rstrip() for line in lines]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(clock):
    return Progress(terminal=io.StringIO(), clock=clock)


@pytest.fixture
def log(clock):
    return Progress(log=io.StringIO(), clock=clock)


def shown(progress):
    return screen(progress.terminal.getvalue())


def logged(progress):
    return progress.log.getvalue().splitlines()


def test_terminal_shows_stage_share_and_time_left(terminal, clock):
    with terminal.bar("[1/2] toy/bag on cpu"), terminal.bar("fine-tune", 40) as stage:
        clock.now += 30
        stage.update(10)
        assert ["[1/2] toy/bag on cpu: fine-tune  25% [00:30<01:30]"] == shown(terminal)


def test_time_left_follows_the_steps_alone(terminal, clock):
    with terminal.bar("answers of pytorch", 40) as stage:
        clock.now += 30
        stage.start_steps()
        clock.now += 1
        stage.update(10)
        assert ["answers of pytorch  25% [00:31<00:03]"] == shown(terminal)


def test_terminal_shows_no_time_left_without_a_total(terminal, clock):
    with terminal.bar("toy"), terminal.bar("rounds, at most 240") as stage:
        assert ["toy: rounds, at most 240"] == shown(terminal)
        clock.now += 5
        stage.update()
        assert ["toy: rounds, at most 240  1 done [00:05]"] == shown(terminal)


def test_line_returns_to_the_outer_stage_and_vanishes_with_it(terminal):
    with terminal.bar("toy"):
        with terminal.bar("build numpy"):
            assert ["toy: build numpy"] == shown(terminal)
        assert ["toy"] == shown(terminal)
    assert [""] == shown(terminal)


def test_failed_stage_leaves_no_line_behind(terminal, log):
    for progress in (terminal, log):
        with pytest.raises(ZeroDivisionError), progress.bar("build", 2):
            raise ZeroDivisionError
        assert [] == progress.stages
    assert ([""], []) == (shown(terminal), logged(log))


def test_sentence_stays_above_the_live_line(terminal):
    with terminal.bar("toy"):
        terminal.say("numpy: built again")
        assert ["numpy: built again", "toy"] == shown(terminal)


def test_long_sentence_breaks_between_words(terminal):
    terminal.say("a note\n" + "four " * 20)
    assert ["a note", " ".join(["four"] * 16), "    four four four four", ""] == shown(terminal)


def test_long_line_keeps_its_end_and_never_wraps(terminal, clock):
    with terminal.bar("t" * 90), terminal.bar("answers of numpy", 2) as stage:
        clock.now += 1
        stage.update()
        (line,) = shown(terminal)
    assert len(line) < 80
    assert line.startswith("…ttt")
    assert line.endswith("t: answers of numpy  50% [00:01<00:01]")


def test_terminal_is_drawn_ten_times_a_second_at_most(terminal, clock):
    with terminal.bar("train", 10_000) as stage:
        before = len(terminal.terminal.getvalue())
        for _ in range(1000):
            clock.now += 0.001
            stage.update()
        drawn = terminal.terminal.getvalue()[before:].count("train")
    assert 8 <= drawn <= 10


def test_log_says_that_stages_begin_and_end(log, clock):
    with log.bar("[1/1] toy/bag on cpu"):
        with log.bar("build numpy"):
            clock.now += 9.4
        with log.bar("answers of numpy", 20):
            clock.now += 2
        clock.now += 120
    assert [
        "[1/1] toy/bag on cpu",
        "[1/1] toy/bag on cpu: build numpy",
        "[1/1] toy/bag on cpu: build numpy took 9 s",
        "[1/1] toy/bag on cpu: answers of numpy took 2 s",
        "[1/1] toy/bag on cpu took 2 min 11 s",
    ] == logged(log)


def test_log_says_how_far_a_stage_is_after_thirty_silent_seconds(log, clock):
    with log.bar("train", 100) as stage:
        for _ in range(70):
            clock.now += 1
            stage.update()
    assert ["train  30% [00:30<01:10]", "train  60% [01:00<00:40]", "train took 70 s"] == logged(log)


def test_log_counts_steps_without_a_total(log, clock):
    with log.bar("rounds") as stage:
        clock.now += 31
        stage.update(5)
    assert ["rounds", "rounds  5 done [00:31]", "rounds took 31 s"] == logged(log)


def test_log_has_no_control_characters(log, clock):
    with log.bar("toy"), log.bar("train", 2) as stage:
        clock.now += 40
        stage.update()
        log.say("a note")
    assert log.log.getvalue().replace("\n", "").isprintable()


def test_nothing_is_shown_without_terminal_and_log():
    with Progress().bar("toy", 2) as stage:
        stage.update(2)
    assert 2 == stage.done


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min 0 s"), (192.3, "3 min 12 s")])
def test_durations_are_written_for_people(seconds, text):
    assert text == format_seconds(seconds)


def test_quiet_holds_loggers_whose_library_sets_their_level_later(caplog):
    logger = logging.getLogger("some-library")
    with quiet():
        logger.setLevel(logging.INFO)  # as when it is first imported
        logger.warning("unasked")
        logger.error("needed")
    logger.warning("afterwards")
    assert ["needed", "afterwards"] == caplog.messages
