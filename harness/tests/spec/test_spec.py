"""Laws of declarations: a typo is an error that says what to write, and a case has one name."""

from argparse import Namespace
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends import DEFAULT_BACKENDS, MORE_BACKENDS, OPENVINO, PYTORCH
from harness.contracts.backend import DEVICES, Backend
from harness.contracts.sources import Native, Package, Scratch
from harness.errors import HarnessError
from harness.kinds import fill_mask, text_classification
from harness.pytest_plugin.session import unwanted
from harness.spec import Gate, Model, Recipe, Task, cases

LAW = settings(max_examples=60)


def load(artifact, target):
    """Stands where a backend's loader would."""


def task(**changed):
    known = {
        "name": "toy-task",
        "kind": text_classification,
        "dataset": Package("toydata", "rows.csv", sha256="00"),
        "inputs": ("text",),
        "label": "desk",
        "metric": "accuracy",
        "test": 10,
        "validation": 10,
        "calibration": 10,
    }
    return Task(**(known | changed))


def model(name="toy-model", **changed):
    return Model(name=name, source=Package("toymodel", "model", sha256="00"), **changed)


def backend(name="toy", **changed):
    return Backend(name=name, load=load, **changed)


# Names


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a/b", "a.b", "a[b]", "ä", "a\n", "../a"])
@pytest.mark.parametrize("what", ["task", "model", "backend"])
def test_a_name_that_cannot_be_a_file_and_a_test_id_is_refused(what, name):
    make = {"task": task, "model": model, "backend": backend}[what]
    said = "names become file names and pytest ids, so use letters, digits, '-' and '_' only"
    with pytest.raises(HarnessError, match=f"{what} name .*: {said}"):
        make(name=name)


@LAW
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True))
def test_every_other_name_is_taken(name):
    assert [name] * 3 == [task(name=name).name, model(name).name, backend(name).name]


# Declarations


@pytest.mark.parametrize(
    "value", [Recipe(), task(), model(), backend(), Gate(min_score=0.9, max_drop=0.01), Native("a.py:A")], ids=type
)
def test_a_declaration_is_frozen_and_hashable(value):
    with pytest.raises(FrozenInstanceError):
        value.name = "another"
    assert hash(value) == hash(replace(value))
    assert value == replace(value)


def test_mappings_do_not_keep_a_model_from_being_a_key():
    scratch = Scratch(config={"model_type": "vit"}, processor={"image_mean": [0.5]})
    one = Model(name="vit", source=scratch, recipe=Recipe(trainer={"fp16": True}))
    assert {one: "gate"} == {replace(one): "gate"}


def test_a_mistyped_field_is_an_error():
    with pytest.raises(TypeError, match="learningrate"):
        Recipe(learningrate=1e-3)


def test_fields_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        Gate(0.9, 0.01)
    with pytest.raises(TypeError, match="positional"):
        Recipe(3)


def test_a_recipe_with_an_unknown_loop_is_refused():
    with pytest.raises(HarnessError, match=r"Recipe\(loop='lightning'\): there are 'trainer' and 'native'"):
        Recipe(loop="lightning")


def test_a_recipe_with_an_unknown_precision_is_refused():
    with pytest.raises(HarnessError, match=r"Recipe\(precision='fp8'\): there are 'fp32' and 'bf16'"):
        Recipe(precision="fp8")


def test_a_recipe_that_keeps_no_known_epoch_is_refused():
    with pytest.raises(HarnessError, match=r"Recipe\(keep='first'\): there are 'best' and 'last'"):
        Recipe(keep="first")


def test_a_native_loop_takes_no_training_arguments():
    said = r"Recipe\(trainer={'fp16': True}\): these are TrainingArguments; use them with loop='trainer'"
    with pytest.raises(HarnessError, match=said):
        Recipe(loop="native", trainer={"fp16": True})


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"rows": 0},
        {"rows": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"learning_rate": float("nan")},
        {"warmup": -0.1},
        {"warmup": 1.1},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_train_is_refused(changed):
    (name, value), said = (
        *changed.items(),
        "batch_size, rows and learning_rate must be positive, epochs not negative, warmup within 0..1",
    )
    with pytest.raises(HarnessError, match=rf"Recipe\(.*{name}={value}.*\): {said}"):
        Recipe(**changed)


def test_a_native_module_does_not_train_with_the_trainer():
    with pytest.raises(HarnessError, match=r"model toy: a native module trains with Recipe\(loop='native'\)"):
        Model(name="toy", source=Native("toy.py:Toy"), recipe=Recipe())


@pytest.mark.parametrize("source", [Native("toy.py:Toy"), Scratch(config={}, processor={})], ids=type)
def test_random_weights_need_training(source):
    with pytest.raises(HarnessError, match="model toy: its weights are random, so it needs a Recipe with epochs"):
        Model(name="toy", source=source)


def test_without_a_recipe_a_model_is_used_as_it_is():
    assert (True, False) == (model().is_as_it_is, model(recipe=Recipe()).is_as_it_is)


def test_a_new_head_answers_the_labels_of_the_task_alone():
    with pytest.raises(HarnessError, match=r"model toy-model: labels=.*are of no use where a new head is trained"):
        model(recipe=Recipe(), labels=("a", "b"))


def test_a_native_module_is_found_beside_its_suite(tmp_path):
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "toy.py"
    path.write_text("class Toy: pass\n")
    assert (path, "Toy") == Native("models/toy.py:Toy").locate(tmp_path)


@pytest.mark.parametrize("target", ["none.py:Toy", "toy.py", "toy.py:", ":Toy", ""])
def test_a_native_module_that_is_not_there_is_refused(tmp_path, target):
    (tmp_path / "toy.py").write_text("class Toy: pass\n")
    said = rf"Native\('{target}'\): no file {tmp_path}.*; write 'file\.py:Class' relative to the suite"
    with pytest.raises(HarnessError, match=said):
        Native(target).locate(tmp_path)


def test_a_task_of_no_kind_is_refused():
    said = (
        "task toy-task: kind 'text' is none; there are feature_extraction, fill_mask, image_classification, "
        "question_answering, summarization, text_classification, token_classification, translation, "
        r"or a harness\.Kind of your own"
    )
    with pytest.raises(HarnessError, match=said):
        task(kind="text")


def test_an_input_called_label_does_not_vanish_under_the_labels():
    said = r"task toy-task: an input cannot be called 'label'; rename the column in read\(\)"
    with pytest.raises(HarnessError, match=said):
        task(inputs=("text", "label"))


def test_a_metric_that_the_kind_does_not_have_is_refused():
    said = (
        "task toy-task: no metric 'bleu' for text-classification; there are accuracy, f1, f1-macro, off-by-one-accuracy"
    )
    with pytest.raises(HarnessError, match=said):
        task(metric="bleu")


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        (text_classification, None, "text-classification needs label=, a column's name"),
        (fill_mask, "desk", "fill-mask has no label: its rows hold their answers"),
    ],
    ids=["missing", "too much"],
)
def test_a_task_has_a_label_where_its_kind_has(kind, label, said):
    with pytest.raises(HarnessError, match=f"task toy-task: {said}"):
        task(kind=kind, label=label, metric=kind.metrics[0])


def test_a_metric_told_beside_is_one_of_the_kinds_and_counted_once():
    assert ("accuracy", "f1-macro") == task(also=("f1-macro", "accuracy")).metrics
    with pytest.raises(HarnessError, match="task toy-task: no metric 'bleu' for text-classification"):
        task(also=("bleu",))


def test_the_names_of_answers_do_not_keep_a_model_from_being_a_key():
    one = model(labels={"LABEL_0": "a"})
    assert {one: "gate"} == {replace(one): "gate"}


def test_a_kind_with_a_metric_that_nobody_wrote_is_refused():
    odd = replace(text_classification, metrics=("accuracy", "charm"))
    with pytest.raises(HarnessError, match=r"kind text-classification: unknown metrics {'charm'}"):
        task(kind=odd)


# Cases


def test_a_case_is_named_after_its_four_parts():
    (one, _) = cases(task(), [model()], [backend()])
    assert "toy-task/toy-model.toy.cpu" == str(one)


def test_a_suite_has_every_model_on_every_device_with_every_backend():
    found = cases(task(), [model("m1"), model("m2")], [backend("b1"), backend("b2", devices=("cpu",))])
    expected = [f"toy-task/{name}.{rest}" for name in ("m1", "m2") for rest in ("b1.cpu", "b2.cpu", "b1.cuda")]
    assert expected == [str(case) for case in found]


def test_backends_are_the_default_ones_and_others_on_request_unless_they_are_named():
    known = [*DEFAULT_BACKENDS, *MORE_BACKENDS]
    found = cases(task(), [model()])
    expected = [one for device in DEVICES for one in known if device in one.devices]
    assert expected == [case.backend for case in found]
    assert set(MORE_BACKENDS) == {case.backend for case in found if case.on_request}
    assert not any(case.on_request for case in cases(task(), [model()], MORE_BACKENDS))


def test_what_one_suite_has_on_request_may_be_another_ones_own():
    own = cases(task(name="own"), [model()], [PYTORCH, OPENVINO])
    default = cases(task(name="default"), [model()])
    for found in ([*own, *default], [*default, *own]):
        left = {str(case) for case in found} - unwanted(found, Namespace(ship_backends=None, ship_device="cpu"))
        assert {"own/toy-model.openvino.cpu"} == {name for name in left if ".openvino." in name}


def test_models_may_be_the_keys_of_their_gates():
    gates = {model("m1"): Gate(min_score=0.9, max_drop=0.01), model("m2"): Gate(min_score=0.8, max_drop=0.01)}
    found = cases(task(), gates, [backend(devices=("cpu",))])
    assert [0.9, 0.8] == [gates[case.model].min_score for case in found]


@pytest.mark.parametrize(
    ("models", "backends"),
    [(["same", "same"], ["toy"]), (["toy"], ["same", "same"])],
    ids=["models", "backends"],
)
def test_two_cases_of_one_name_are_refused(models, backends):
    said = r"task toy-task: two cases share a name \(toy-task/\w+\.\w+\.cpu\); models and backends need distinct names"
    with pytest.raises(HarnessError, match=said):
        cases(task(), map(model, models), list(map(backend, backends)))


def test_what_a_backend_is_built_from_may_not_have_the_name_of_another():
    first = backend("same")
    of_other = backend("built", source=replace(first, load=backend))
    with pytest.raises(HarnessError, match="backend 'same': two have that name, and are not the same"):
        cases(task(), [model()], [first, of_other])
    with pytest.raises(HarnessError, match="backend 'control': the reference and its control own that name"):
        cases(task(), [model()], [backend("built", source=replace(first, name="control"))])
    assert cases(task(), [model()], [first, backend("built", source=replace(first, devices=("cpu",)))])


@LAW
@given(st.sets(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,6}", fullmatch=True), min_size=1, max_size=6), st.data())
def test_no_two_cases_share_a_name(names, data):
    devices = data.draw(st.lists(st.sampled_from(DEVICES), min_size=1, unique=True))
    backends = [backend(name, devices=tuple(devices)) for name in sorted(names)]
    found = cases(task(), map(model, sorted(names)), backends)
    assert len(names) ** 2 * len(devices) == len(found) == len({str(case) for case in found})


@pytest.mark.parametrize("name", ["pytorch", "control"])
def test_the_names_of_the_reference_and_its_control_are_taken(name):
    with pytest.raises(HarnessError, match=f"backend '{name}': the reference and its control own that name"):
        cases(task(), [model()], [backend(name)])


@pytest.mark.parametrize("devices", [(), ("CPU",), ("cpu", "tpu")])
def test_a_backend_for_a_device_that_is_none_is_refused(devices):
    with pytest.raises(HarnessError, match="there are cpu, cuda"):
        backend(devices=devices)


@pytest.mark.parametrize("limits", [(94, 0.01), (-0.1, 0.01), (0.94, 1), (0.94, -0.01)])
def test_a_gate_in_points_is_refused(limits):
    floor, max_drop = limits
    with pytest.raises(HarnessError, match="scores run from 0 to 1"):
        Gate(min_score=floor, max_drop=max_drop)
