"""Trackers are told how training went and what may ship, and change nothing of either."""

from dataclasses import replace
from pathlib import Path

import factory
import pytest
from test_train import VIT, train

from harness.errors import HarnessError
from harness.fingerprints import fingerprint
from harness.spec import Recipe
from harness.training.tracking import check_installed, log_tables, run_folder

RECIPE = Recipe(epochs=2)


def events(folder: Path):
    """What TensorBoard would show of a run."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_a_tracker_is_no_part_of_what_is_trained():
    told = replace(RECIPE, report_to=("tensorboard",))
    assert (RECIPE, hash(RECIPE), fingerprint(RECIPE)) == (told, hash(told), fingerprint(told))
    assert fingerprint(RECIPE) != fingerprint(replace(RECIPE, epochs=3))


@pytest.mark.parametrize("wrong", ["tensorboard", ("tensorbord",), ("all",)])
def test_unknown_trackers_are_refused_with_those_that_there_are(wrong):
    with pytest.raises(HarnessError, match="a tuple of mlflow, tensorboard, trackio, wandb"):
        Recipe(report_to=wrong)


def test_a_loop_that_does_not_report_is_refused():
    with pytest.raises(HarnessError, match="use it with loop='trainer'"):
        Recipe(loop="native", report_to=("tensorboard",))


def test_a_package_that_is_missing_is_named_with_what_asked_for_it():
    check_installed("json", "nobody")
    said = r'^model m: no_such_package is not installed; run: python -m pip install -e "\.\[no_such_package\]"$'
    with pytest.raises(HarnessError, match=said):
        check_installed("no_such_package", "model m")


def test_training_is_told_of_and_is_what_it_was(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    small = {"rows": 64, "batch_size": 64, "epochs": 2}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    silent = train(tmp_path / "one" / "checkpoint", **small)
    told = train(tmp_path / "other" / "checkpoint", **small, report_to=("tensorboard",))
    assert silent == told
    found = events(run_folder(tmp_path / "other", "digits", VIT.name, 0))
    assert told["validation"] == pytest.approx([one.value for one in found.Scalars("eval/accuracy")])
    assert 2 == len(found.Scalars("train/loss"))
    assert not (tmp_path / "one" / "runs").exists()


def test_the_final_table_goes_to_the_run_of_its_training(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    results = [one for seed in (0, 3) for one in comparison(seed)]
    folders = [run_folder(tmp_path, "toy-task", f"model-{seed}", seed) for seed in (0, 3)]
    assert [f"{one.name}: folder {one}" for one in folders] == list(log_tables("tensorboard", results, tmp_path))
    found = events(folders[1])
    (text,) = found.Tensors("comparison/cpu/text_summary")
    assert b"| onnxruntime |" in text.tensor_proto.string_val[0]
    assert 1.5 == pytest.approx(found.Scalars("speedup/onnxruntime.cpu")[0].value, rel=0.01)
    assert 0.95 == pytest.approx(found.Scalars("score/pytorch.cpu")[0].value)


def comparison(seed):
    """Of a model that was trained with this seed."""
    known = {"model": f"model-{seed}", "recipe": {"seed": seed}}
    return [factory.result(**known), factory.result("onnxruntime", 1.5, **known), factory.failed("broken", **known)]
