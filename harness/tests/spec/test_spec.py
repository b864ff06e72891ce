"""Declarations of authors: mistakes are explained, defaults are sound, and every case has one name."""

from argparse import Namespace
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends import DEFAULT_BACKENDS, MORE_BACKENDS, OPENVINO, PYTORCH
from harness.contracts.backend import DEVICES, Backend, Python
from harness.contracts.sources import Folder, Hub, Local, Native, Package, Scratch
from harness.errors import HarnessError
from harness.kinds import KINDS, fill_mask, text_classification
from harness.pytest_plugin.selection import unwanted
from harness.spec import Gate, Model, Recipe, Task, cases

LAW = settings(max_examples=60)


def load(artifact, target):
    """Stands where a backend's loader would."""


def task(**changed):
    declared = {
        "name": "toy-task",
        "kind": text_classification,
        "dataset": Package("toydata", "rows.csv", sha256="00"),
        "inputs": ("text",),
        "label": "desk",
        "metric": "accuracy",
    }
    return Task(**(declared | changed))


def model(name="toy-model", **changed):
    return Model(name=name, source=Package("toymodel", "model", sha256="00"), **changed)


def backend(name="toy", **changed):
    return Backend(name=name, load=load, **changed)


# Names and arguments


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a/b", "a.b", "a[b]", "ä", "a\n", "../a"])
@pytest.mark.parametrize("sort", ["task", "model", "backend"])
def test_names_must_fit_files_and_test_ids(sort, name):
    make = {"task": task, "model": model, "backend": backend}[sort]
    message = "use letters, digits, '-' and '_' only; it becomes part of file names"
    with pytest.raises(HarnessError, match=f"{sort} name .*: {message}"):
        make(name=name)


@LAW
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True))
def test_other_names_are_accepted(name):
    assert [name] * 3 == [task(name=name).name, model(name).name, backend(name).name]


@pytest.mark.parametrize(
    "value", [Recipe(), task(), model(), backend(), Gate(min_score=0.9, max_drop=0.01), Native("a.py:A")], ids=type
)
def test_declarations_are_frozen_and_hashable(value):
    with pytest.raises(FrozenInstanceError):
        value.name = "another"
    assert hash(value) == hash(replace(value))
    assert value == replace(value)


def test_models_with_mappings_are_hashable():
    scratch = Scratch(config={"model_type": "vit"}, processor={"image_mean": [0.5]})
    vit = Model(name="vit", source=scratch, recipe=Recipe(trainer={"fp16": True}))
    labelled = model(labels={"LABEL_0": "a"})
    assert {vit: 1, labelled: 2} == {replace(vit): 1, replace(labelled): 2}


DECLARATIONS = (Task, Model, Recipe, Gate, Package, Hub, Folder, Local, Native, Scratch, Backend, Python)


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_unknown_arguments_list_the_known_ones(declaration):
    names = ", ".join(field.name for field in fields(declaration))
    message = f"^{declaration.__name__}: unknown argument 'zzz'; expected one of {names}$"
    with pytest.raises(HarnessError, match=message):
        declaration(zzz=1)


def test_misspelt_arguments_suggest_the_closest():
    with pytest.raises(HarnessError, match="did you mean 'learning_rate'"):
        Recipe(learningrate=1e-3)


@pytest.mark.parametrize(("old", "new"), [("floor", "min_score"), ("max_loss", "max_drop")])
def test_renamed_arguments_give_the_new_name(old, new):
    with pytest.raises(HarnessError, match=rf"^Gate\({old}=…\) is called {new} now$"):
        Gate(**{old: 0.9})


def test_missing_arguments_are_named():
    with pytest.raises(HarnessError, match=r"^Task: missing kind=…, dataset=…, inputs=…, metric=…$"):
        Task(name="toy")
    with pytest.raises(HarnessError, match=r"^Package: missing sha256=…$"):
        Package("toydata", "rows.csv")


def test_positional_arguments_are_refused():
    with pytest.raises(HarnessError, match=r"^Gate: pass arguments by name; expected min_score=…, max_drop=…, min_sp"):
        Gate(0.9, 0.01)
    with pytest.raises(HarnessError, match=r"^Hub: pass arguments by name"):
        Hub("org/data", "config", "revision")


# Recipes and models


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loop": "lightning"}, "unknown loop 'lightning'; expected one of trainer, native"),
        ({"precision": "fp8"}, "unknown precision 'fp8'; expected one of fp32, bf16"),
        ({"keep": "first"}, "unknown keep 'first'; expected one of best, last"),
        ({"loop": "native", "trainer": {"fp16": True}}, "trainer= configures Trainer and needs loop='trainer'"),
    ],
)
def test_recipes_with_impossible_settings_are_refused(changed, message):
    with pytest.raises(HarnessError, match=f"Recipe: {message}"):
        Recipe(**changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("batch_size", 0),
        ("rows", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("warmup", -0.1),
        ("warmup", 1.1),
    ],
)
def test_recipes_with_numbers_out_of_range_are_refused(name, value):
    message = "batch_size, rows and learning_rate must be positive, epochs not negative, warmup within 0..1"
    with pytest.raises(HarnessError, match=rf"Recipe\(.*{name}={value}.*\): {message}"):
        Recipe(**{name: value})


def test_native_modules_train_in_the_native_loop():
    with pytest.raises(HarnessError, match=r"model toy: a native module trains with Recipe\(loop='native'\)"):
        Model(name="toy", source=Native("toy.py:Toy"), recipe=Recipe())


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_range_is_refused(dropout):
    with pytest.raises(HarnessError, match=rf"Recipe: dropout={dropout} must be at least 0 and less than 1"):
        Recipe(dropout=dropout)


@pytest.mark.parametrize("source", [Native("toy.py:Toy"), Scratch(config={}, processor={})], ids=type)
def test_dropout_is_for_pretrained_models(source):
    with pytest.raises(HarnessError, match=r"model toy: Recipe\(dropout=…\) is for pretrained models; set it in the "):
        Model(name="toy", source=source, recipe=Recipe(dropout=0.0))


@pytest.mark.parametrize("source", [Native("toy.py:Toy"), Scratch(config={}, processor={})], ids=type)
def test_random_weights_need_training(source):
    with pytest.raises(HarnessError, match="model toy: its weights are random, so it needs a Recipe with epochs"):
        Model(name="toy", source=source)


def test_models_without_a_recipe_are_used_as_is():
    assert (True, False) == (model().is_used_as_is, model(recipe=Recipe()).is_used_as_is)


def test_labels_are_for_models_used_as_is():
    with pytest.raises(HarnessError, match=r"model toy-model: labels= is for a model used as it is"):
        model(recipe=Recipe(), labels=("a", "b"))


def test_native_modules_are_located_beside_the_suite(tmp_path):
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "toy.py"
    path.write_text("class Toy: pass\n")
    assert (path, "Toy") == Native("models/toy.py:Toy").locate(tmp_path)


@pytest.mark.parametrize("target", ["none.py:Toy", "toy.py", "toy.py:", ":Toy", ""])
def test_missing_native_modules_are_refused(tmp_path, target):
    (tmp_path / "toy.py").write_text("class Toy: pass\n")
    message = rf"Native\('{target}'\): no file {tmp_path}.*; write 'file\.py:Class' relative to the suite"
    with pytest.raises(HarnessError, match=message):
        Native(target).locate(tmp_path)


def test_content_identifies_what_a_source_holds(tmp_path):
    pinned = [Package("p", "q", sha256="00"), Hub("org/toy", revision="a" * 40), Scratch(config={}, processor={})]
    assert ["00", "a" * 40, None] == [source.content(tmp_path) for source in pinned]
    hashes = []
    for version in ("pass", "..."):
        folder = tmp_path / f"version-{len(hashes)}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "toy.py").write_text(f"class Toy: {version}\n")
        hashes.append([source.content(folder) for source in (Folder("."), Local("."), Native("toy.py:Toy"))])
    assert hashes[0][0] == hashes[0][1]
    assert not set(hashes[0]) & set(hashes[1])


# Tasks and gates


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_found_by_hugging_face_name(name):
    label = None if KINDS[name].label == "none" else "desk"
    classes = ("ground", "road") if KINDS[name].label == "mask" else ()
    assert KINDS[name] is task(kind=name, label=label, metric=KINDS[name].metrics[0], classes=classes).kind


def test_a_kind_by_name_equals_the_kind_itself():
    assert task(kind="text-classification") == task() == replace(task())


@pytest.mark.parametrize(
    ("kind", "hint"), [("text_classification", "; did you mean 'text-classification'?"), ("zzz", ""), (3, "")]
)
def test_unknown_kinds_list_the_known_ones(kind, hint):
    message = f"task toy-task: unknown kind {kind!r}; expected one of {', '.join(KINDS)}, a harness.Kind{hint}"
    with pytest.raises(HarnessError) as error:
        task(kind=kind)
    assert message == str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": ("text", "label")}, r"an input cannot be called 'label'; rename the column in read\(\)"),
        ({"inputs": "text"}, r"inputs='text' must be a tuple of strings, as in \('text',\)"),
        ({"inputs": ()}, r"inputs=\(\) must name a column"),
        ({"test": 0}, "test=0 must be positive; leave it out for the default"),
        ({"validation": 0}, "validation=0 must be positive"),
        ({"calibration": 0}, "calibration=0 must be positive"),
        (
            {"metric": "bleu"},
            "unknown text-classification metric 'bleu'; expected one of accuracy, f1, f1-macro, off-by",
        ),
        ({"also": ("bleu",)}, "unknown text-classification metric 'bleu'"),
        ({"label": None}, "text-classification needs label=, the column with the expected answer"),
        ({"metric": "acuracy"}, r"unknown text-classification metric 'acuracy'.*did you mean 'accuracy'\?"),
        ({"positive": "fault"}, r"positive= is for the metric f1; name it in metric= or also="),
        ({"positive": 1, "also": ("f1",)}, r"positive=1 must be a string, as in positive='1'"),
        ({"order": ["bad", "good"]}, r"order=\['bad', 'good'\] must be a tuple of strings"),
        ({"order": ("bad", "good")}, "order= is for the metric off-by-one-accuracy"),
        ({"order": ("bad", "bad")}, r"order=\('bad', 'bad'\) names a label twice"),
        ({"scheme": "IOB3"}, r"unknown scheme 'IOB3'; expected one of IOB2, .*did you mean 'IOB"),
        ({"scheme": "IOB2"}, "scheme= is for the metric entity-f1"),
        ({"tokenize": "mecab"}, r"unknown tokenize 'mecab'.*did you mean 'ko-mecab|ja-mecab'"),
        ({"kind": fill_mask, "metric": "top-1"}, "fill-mask takes no label=, because its rows hold the answer"),
    ],
)
def test_inconsistent_tasks_are_refused(changed, message):
    with pytest.raises(HarnessError, match=f"task toy-task: {message}"):
        task(**changed)


def test_further_metrics_are_counted_once():
    assert ("accuracy", "f1-macro") == task(also=("f1-macro", "accuracy")).metrics


def test_kinds_with_unknown_metrics_are_refused():
    odd = replace(text_classification, metrics=("accuracy", "charm"))
    with pytest.raises(HarnessError, match="kind text-classification: unknown metric 'charm'"):
        task(kind=odd)


@pytest.mark.parametrize("limits", [(94, 0.01), (-0.1, 0.01), (0.94, 1), (0.94, -0.01)])
def test_gates_beyond_0_to_1_are_refused(limits):
    min_score, max_drop = limits
    with pytest.raises(HarnessError, match="scores run from 0 to 1"):
        Gate(min_score=min_score, max_drop=max_drop)


@pytest.mark.parametrize("batch", [0, -1, 1.0, True, "16", None])
def test_gates_judge_whole_batches(batch):
    with pytest.raises(HarnessError, match="must be whole numbers of rows that rise"):
        Gate(min_score=0.9, max_drop=0.01, batch=batch)


@pytest.mark.parametrize("batches", [(), 16, [1, 16], (16, 1), (1, 1), (0, 1), ("1",)])
def test_batch_sizes_of_a_task_rise(batches):
    with pytest.raises(HarnessError, match=r"task toy-task: batches=.* must be whole numbers of rows that rise"):
        task(batches=batches)


# Cases


@pytest.mark.parametrize(
    ("declared", "chosen", "gate", "expected"),
    [
        ({}, (), None, (1, 16)),
        ({}, (), 16, (16, 1)),
        ({"batches": (4, 8)}, (), None, (4, 8)),
        ({"batches": (1, 8, 64)}, (), 8, (8, 1, 64)),
        ({"batches": (1, 8)}, (1, 32), 32, (32, 1)),
    ],
)
def test_batch_of_the_gate_is_measured_first(declared, chosen, gate, expected):
    gates = {model(): Gate(min_score=0.9, max_drop=0.01, batch=gate)} if gate else [model()]
    assert expected == cases(task(**declared), gates, [backend()])[0].batches(chosen)


def test_batch_that_is_not_measured_is_refused():
    (case, _) = cases(task(), {model(): Gate(min_score=0.9, max_drop=0.01, batch=32)}, [backend()])
    with pytest.raises(HarnessError, match=r"judges speed at batch 32, and this run measures 1, 16; .*=\(1, 16, 32,\)"):
        case.batches()
    with pytest.raises(HarnessError, match=r"measures 1, 8; run with --ship-batch-sizes 1,8,32"):
        case.batches((1, 8))


def test_case_names_have_four_parts():
    (case, _) = cases(task(), [model()], [backend()])
    assert "toy-task/toy-model.toy.cpu" == str(case)


@pytest.mark.parametrize(("lacking", "models", "backends"), [("models", {}, None), ("backends", [model()], [])])
def test_a_suite_without_cases_is_refused(lacking, models, backends):
    with pytest.raises(HarnessError, match=f"task toy-task: cases.. has no {lacking}, so nothing is measured"):
        cases(task(), models, backends)


def test_cases_cover_models_devices_and_backends():
    suite = cases(task(), [model("m1"), model("m2")], [backend("b1"), backend("b2", devices=("cpu",))])
    expected = [f"toy-task/{name}.{rest}" for name in ("m1", "m2") for rest in ("b1.cpu", "b2.cpu", "b1.cuda")]
    assert expected == [str(case) for case in suite]


def test_cases_have_default_backends_and_others_on_request():
    suite = cases(task(), [model()])
    every = [*DEFAULT_BACKENDS, *MORE_BACKENDS]
    assert [b for device in DEVICES for b in every if device in b.devices] == [case.backend for case in suite]
    assert set(MORE_BACKENDS) == {case.backend for case in suite if case.on_request}
    assert not any(case.on_request for case in cases(task(), [model()], MORE_BACKENDS))


def test_backend_on_request_is_measured_where_a_suite_names_it():
    own = cases(task(name="own"), [model()], [PYTORCH, OPENVINO])
    default = cases(task(name="default"), [model()])
    for suite in ([*own, *default], [*default, *own]):
        left = {str(case) for case in suite} - unwanted(suite, Namespace(ship_backends=None, ship_device="cpu"))
        assert {"own/toy-model.openvino.cpu"} == {name for name in left if ".openvino." in name}


def test_backend_on_request_is_measured_by_name_or_all():
    suite = cases(task(), [model()])

    def wanted(names):
        left_out = unwanted(suite, Namespace(ship_backends=names, ship_device="cpu"))
        return {case.backend.name for case in suite if str(case) not in left_out}

    default, more = ({b.name for b in group if "cpu" in b.devices} for group in (DEFAULT_BACKENDS, MORE_BACKENDS))
    assert default == wanted(None) == wanted("default")
    assert default | {"onnxruntime-int8-static"} == wanted("default,onnxruntime-int8-static")
    assert {"onnxruntime-int8-static"} == wanted("onnxruntime-int8-static")
    assert default | more == wanted("all")


def test_cases_carry_the_gates_of_their_models():
    gates = {model("m1"): Gate(min_score=0.9, max_drop=0.01), model("m2"): Gate(min_score=0.8, max_drop=0.01)}
    suite = cases(task(), gates, [backend(devices=("cpu",))])
    assert [0.9, 0.8] == [case.gate.min_score for case in suite]


@pytest.mark.parametrize(
    ("models", "backends"), [(["same", "same"], ["toy"]), (["toy"], ["same", "same"])], ids=["models", "backends"]
)
def test_two_cases_of_one_name_are_refused(models, backends):
    message = r"task toy-task: two cases share a name \(toy-task/\w+\.\w+\.cpu\); rename a model or a backend"
    with pytest.raises(HarnessError, match=message):
        cases(task(), map(model, models), list(map(backend, backends)))


def test_different_backends_of_one_name_are_refused():
    first = backend("same")
    built = backend("built", source=replace(first, load=backend))
    with pytest.raises(HarnessError, match="backend 'same': two different backends share this name"):
        cases(task(), [model()], [first, built])
    assert cases(task(), [model()], [first, backend("built", source=replace(first, devices=("cpu",)))])


@pytest.mark.parametrize("name", ["pytorch", "control"])
def test_names_of_the_reference_are_reserved(name):
    for wrong in (backend(name), backend("built", source=backend(name))):
        with pytest.raises(HarnessError, match=f"backend '{name}': this name is reserved for the reference"):
            cases(task(), [model()], [wrong])


@LAW
@given(st.sets(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,6}", fullmatch=True), min_size=1, max_size=6), st.data())
def test_no_two_cases_share_a_name(names, data):
    devices = data.draw(st.lists(st.sampled_from(DEVICES), min_size=1, unique=True))
    backends = [backend(name, devices=tuple(devices)) for name in sorted(names)]
    suite = cases(task(), map(model, sorted(names)), backends)
    assert len(names) ** 2 * len(devices) == len(suite) == len({str(case) for case in suite})


@pytest.mark.parametrize("devices", [(), ("CPU",), ("cpu", "tpu")])
def test_unknown_devices_are_refused(devices):
    with pytest.raises(HarnessError, match=r"backend toy: unknown device .*; expected one of cpu, cuda"):
        backend(devices=devices)
