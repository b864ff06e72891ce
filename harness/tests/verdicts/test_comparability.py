"""Which results stand side by side, and which are refused."""

from dataclasses import replace

import pytest
from factory import HERE, elsewhere, result

from harness.errors import Incomparable
from harness.verdicts.comparability import check_comparable, comparisons


def test_comparisons_share_task_model_device_and_machine():
    results = [
        result("onnxruntime"),
        result("pytorch", device="cuda"),
        result("pytorch"),
        result("a-backend"),
        result("pytorch", model="another-model"),
        result("onnxruntime", task="another-task"),
        result("onnxruntime", environment=elsewhere(machine="z-machine")),
    ]
    expected = [
        ["another-task/toy-model.onnxruntime.cpu"],
        ["toy-task/another-model.pytorch.cpu"],
        ["toy-task/toy-model.pytorch.cpu", "toy-task/toy-model.a-backend.cpu", "toy-task/toy-model.onnxruntime.cpu"],
        ["toy-task/toy-model.pytorch.cuda"],
        ["toy-task/toy-model.onnxruntime.cpu"],
    ]
    assert expected == [[one.name for one in group] for group in comparisons(results)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"machine": "other-machine"}, "environment machine: toy-machine and other-machine"),
        ({"cpu": "slide rule"}, "environment cpu: abacus and slide rule"),
        ({"flags": ("avx2", "amx")}, r"environment flags: \('avx2',\) and \('avx2', 'amx'\)"),
        ({"cores": 4}, "environment cores: 2 and 4"),
        ({"accelerator": "toy GPU"}, "environment accelerator: None and toy GPU"),
        ({"system": "Linux 7"}, "environment system: Linux 6 and Linux 7"),
        ({"python": "3.12"}, "environment python: 3.11 and 3.12"),
        ({"packages": {"torch": "2.12"}}, "environment packages: {'torch': '2.13'} and {'torch': '2.12'}"),
        ({"threads": 1}, "environment threads: 2 and 1"),
        ({"wait_policy": "default"}, "environment wait_policy: passive and default"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unequal_environments_are_refused(changed, message):
    other = result("onnxruntime", environment=elsewhere(**changed))
    names = r"toy-task/toy-model\.pytorch\.cpu and toy-task/toy-model\.onnxruntime\.cpu differ in "
    with pytest.raises(Incomparable, match=f"{names}{message}; run both again"):
        check_comparable([result(), other])


def test_every_environment_field_is_compared_or_exempt():
    assert {"memory_gib", "commit", "dirty", "load_before"} == set(vars(HERE)) - set(HERE.comparable())
    other = elsewhere(load_before=9.0, commit="fedcba", dirty=True, memory_gib=2.0)
    check_comparable([result(), result("onnxruntime", environment=other)])


def test_other_rows_or_checkpoints_are_refused():
    rows = result("onnxruntime", data=replace(result().data, sha256={"test": "99"}))
    with pytest.raises(Incomparable, match="differ in test rows: 11 and 99; run both again"):
        check_comparable([result(), rows])
    weights = result("onnxruntime", checkpoint=replace(result().checkpoint, info={"weights_sha256": "77"}))
    with pytest.raises(Incomparable, match="differ in checkpoint: 33 and 77; run both again"):
        check_comparable([result(), weights])


def test_all_differences_are_named_at_once():
    other = result("onnxruntime", environment=elsewhere(cores=4, threads=4), data=None)
    message = "environment cores: 2 and 4; environment threads: 2 and 4; test rows: 11 and None; run both again"
    with pytest.raises(Incomparable, match=message):
        check_comparable([result(), other])
