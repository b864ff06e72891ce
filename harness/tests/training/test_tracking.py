"""Trackers get training curves and final tables, and change neither training nor results."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import factory
import pytest
from test_train import VIT, train

from harness.errors import HarnessError
from harness.report.integrations import log_tables
from harness.spec import Recipe
from harness.training.loops import closing_runs
from harness.util.identity import fingerprint
from harness.util.machine import check_installed

RECIPE = Recipe(epochs=2)


def events(folder: Path):
    """Return what TensorBoard shows of a run."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder))
    run.Reload()
    return run


def test_report_to_keeps_the_recipe_fingerprint():
    reported = replace(RECIPE, report_to=("tensorboard",))
    assert (RECIPE, hash(RECIPE), fingerprint(RECIPE)) == (reported, hash(reported), fingerprint(reported))
    assert fingerprint(RECIPE) != fingerprint(replace(RECIPE, epochs=3))


@pytest.mark.parametrize("wrong", ["tensorboard", ("tensorbord",), ("all",)])
def test_unknown_tracker_is_refused_with_the_choices(wrong):
    message = r"must be a tuple of strings|unknown tracker .*; expected one of mlflow, tensorboard, trackio, wandb"
    with pytest.raises(HarnessError, match=message):
        Recipe(report_to=wrong)


def test_native_loop_refuses_report_to():
    with pytest.raises(HarnessError, match="report_to= configures Trainer and needs loop='trainer'"):
        Recipe(loop="native", report_to=("tensorboard",))


def test_missing_tracker_package_names_its_user():
    check_installed("json", "nobody")
    message = r'^model m: no_such_package is not installed; run: python -m pip install -e "\.\[no_such_package\]"$'
    with pytest.raises(HarnessError, match=message):
        check_installed("no_such_package", "model m")


def test_reporting_leaves_training_unchanged(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    small = {"rows": 64, "batch_size": 64, "epochs": 2}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    silent = train(tmp_path / "one" / "checkpoint", **small)
    reported = train(tmp_path / "other" / "checkpoint", **small, report_to=("tensorboard",))
    assert silent == reported
    run = events(tmp_path / "other" / "runs" / f"digits.{VIT.name}.seed-0")
    assert reported["validation"] == pytest.approx([one.value for one in run.Scalars("eval/accuracy")])
    assert 2 == len(run.Scalars("train/loss"))
    assert not (tmp_path / "one" / "runs").exists()


@pytest.mark.parametrize(("before", "after"), [(None, None), ("mine", "mine")])
def test_closing_ends_only_runs_opened_inside(monkeypatch, before, after):
    wandb = ModuleType("wandb")
    wandb.run, wandb.finish = before, lambda: setattr(wandb, "run", None)
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def interrupted():
        with closing_runs(("tensorboard", "wandb")):
            wandb.run = wandb.run or "Trainer's"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert after == wandb.run


def test_each_comparison_gets_a_run_with_its_table(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    results = [one for model in ("large", "small") for one in comparison(model)]
    assert ["toy-task.large.cpu", "toy-task.small.cpu"] == list(log_tables("tensorboard", results, tmp_path))
    others = [replace(one, environment=factory.elsewhere(machine="other")) for one in comparison("small")]
    names = list(log_tables("tensorboard", [*comparison("small"), *others], tmp_path / "two"))
    assert ["other.toy-task.small.cpu", "toy-machine.toy-task.small.cpu"] == sorted(names)
    run = events(tmp_path / "runs" / "toy-task.small.cpu.2026-01-01T00-00-00+00-00")
    (text,) = run.Tensors("comparison/text_summary")
    assert b"| onnxruntime |" in text.tensor_proto.string_val[0]
    assert 1.5 == pytest.approx(run.Scalars("speedup/onnxruntime")[0].value, rel=0.01)
    assert 0.95 == pytest.approx(run.Scalars("score/pytorch")[0].value)


def test_tracker_error_names_comparison_and_tracker(tmp_path):
    (tmp_path / "runs").write_text("a file where TensorBoard wants a folder")
    with pytest.raises(HarnessError, match=r"^toy-task\.large\.cpu was not logged to tensorboard; check its "):
        list(log_tables("tensorboard", comparison("large"), tmp_path))


def comparison(model):
    return [
        factory.result(model=model),
        factory.result("onnxruntime", 1.5, model=model),
        factory.failed("broken", model=model),
    ]
