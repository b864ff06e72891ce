"""A published folder: its files, its card, its demo, its licences, and what is refused."""

import ast
import re
import shlex
from dataclasses import replace
from pathlib import Path

import factory
import numpy as np
import pytest
import shop
from huggingface_hub import ModelCard
from safetensors.numpy import save

from conftest import distribution
from harness.commands.cli import main
from harness.publish.card import base_model, data_licence
from harness.publish.demo import GRADIO
from harness.results import store
from harness.results.schema import Bounds
from harness.util.store import MARKER

COMMIT = "c" * 40
DATA = factory.result().data
MEASURED = factory.process(settings={"providers": "CPUExecutionProvider"})


def publish(folder: Path, *options: str, case: str = shop.CASE, to: str = "out") -> int:
    return main(["publish", case, "--to", str(folder / to), *shop.options(folder), *options])


def text(folder: Path, name: str = "README.md") -> str:
    return (folder / "out" / name).read_text()


def metadata(folder: Path, to: str = "out"):
    return ModelCard.load(folder / to / "README.md").data


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folder_stands_alone(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    own = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "onnx/config.json", "onnx/model.onnx"}
    evidence = {f"shipbench/toy-model.{name}.cpu.json" for name in ("pytorch", "onnxruntime", "onnxruntime-o2", "npz")}
    assert own | evidence == files(tmp_path / "out").keys()
    assert "id2label" in text(tmp_path, "onnx/config.json")  # the checkpoint's, not a guess
    assert ["artifacts", "out", "results"] == sorted(path.name for path in tmp_path.iterdir())


def test_checkpoint_is_published_without_graphs(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path, case=shop.REFERENCE_CASE)
    assert not (tmp_path / "out" / "onnx").exists()


# --- the card


def test_hub_reads_the_metadata(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    card = metadata(tmp_path)
    assert ("unknown", "transformers", "text-classification") == (card.license, card.library_name, card.pipeline_tag)
    (score,) = card.eval_results
    assert ("accuracy", 0.95, "00") == (score.metric_type, score.metric_value, score.dataset_revision)
    assert ("test", 1000) == (score.dataset_split, score.metric_args["rows"])
    assert (None, None) == (card.base_model, card.datasets)


@pytest.mark.parametrize(
    ("metric", "answers", "bounds", "sentence", "method"),
    [
        (
            "accuracy", factory.answers(rows=100, score=0.9, correct="1" * 90 + "0" * 10), (0.8238, 0.9510),
            r"accuracy 0.9000 \[0.8238, 0.9510\], 95 % interval, on 100 test rows", "Clopper",
        ),
        (
            "f1", factory.answers(score=0.9, score_bounds=Bounds(low=0.87, high=0.93)), (0.87, 0.93),
            r"f1 0.9000 \[0.8700, 0.9300\], 95 % interval, on 1000 test rows", "bootstrap",
        ),
        ("f1", factory.answers(), (None, None), "f1 0.9500 (without an interval) on 1000 test rows", ""),
    ],
)  # fmt: skip
def test_score_has_its_interval(tmp_path, metric, answers, bounds, sentence, method):
    shop.stock(tmp_path, data=replace(DATA, metric=metric), answers=answers)
    assert 0 == publish(tmp_path, "--anyway")
    (score,) = metadata(tmp_path).eval_results
    found = tuple(score.metric_args.get(end) for end in ("low", "high"))
    assert bounds == tuple(end and round(end, 4) for end in found)
    assert sentence in text(tmp_path)
    assert bool(method) == ("\n| interval | " in text(tmp_path))
    assert method in text(tmp_path)


def test_card_has_table_environment_verdict_and_licences(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    card = text(tmp_path)
    for part in ("| onnxruntime *", "abacus, 2 cores", "| verdict | ship:", "toydata: rows.csv", "max_length=64"):
        assert part in card
    assert 'onnxruntime.InferenceSession(f"{path}/onnx/model.onnx")' in card
    assert "toy-weights: bert: unknown (the PyPI package toy-weights, which may state it, is not installed" in card


def test_hub_data_gets_an_evaluation_file(tmp_path, capsys):
    from yaml import safe_load

    shop.stock(tmp_path, data=replace(DATA, source="nyu-mll/glue mrpc", source_sha256=COMMIT))
    assert 0 == publish(tmp_path)
    (entry,) = safe_load(text(tmp_path, ".eval_results/shipbench.yaml"))
    # All that the Hub requires: https://huggingface.co/docs/hub/eval-results
    assert {"id": "nyu-mll/glue", "task_id": "mrpc", "revision": COMMIT} == entry["dataset"]
    assert (0.95, "2026-01-01T00:00:00+00:00") == (entry["value"], str(entry["date"]))
    assert ["nyu-mll/glue"] == metadata(tmp_path).datasets
    (score,) = metadata(tmp_path).eval_results
    assert ("nyu-mll/glue", "mrpc", "nyu-mll/glue mrpc") == (
        score.dataset_type, score.dataset_config, score.dataset_name,
    )  # fmt: skip
    assert "was not written" not in capsys.readouterr().out


def test_other_data_gets_none_with_the_reason(tmp_path, capsys):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    assert not (tmp_path / "out" / ".eval_results").exists()
    assert "toydata: rows.csv is not a dataset of the Hub" in capsys.readouterr().out


def test_hostile_names_stay_inert_in_the_card(tmp_path):
    hostile = "<img src=x onerror=alert(1)> [a](javascript:b) `| @all\n---\n# title"
    shop.stock(tmp_path, data=replace(DATA, source=hostile, labels=("```\nimport os", "b")))
    assert 0 == publish(tmp_path)
    _, body = text(tmp_path).split("\n---\n", 1)
    assert "<img" not in body.replace(r"\<img", "")
    assert not re.search(r"(?<!\\)\]\(javascript", body)
    assert "\n# title" not in body
    assert 2 == len(re.findall("^```", body, re.MULTILINE))
    (score,) = metadata(tmp_path).eval_results
    assert hostile == score.dataset_name
    assert re.fullmatch(r"[\w.-]+", score.dataset_type, re.ASCII)  # all that the Hub takes


def test_local_paths_are_not_published(tmp_path):
    recipe = {"source": {"type": "Local", "path": "/home/somebody/model"}}
    shop.stock(tmp_path, data=replace(DATA, source="/home/somebody/rows.csv"), recipe=recipe)
    assert 0 == publish(tmp_path)
    assert [] == [name for name, content in files(tmp_path / "out").items() if b"somebody/" in content]
    assert "rows.csv" in text(tmp_path)


def test_token_is_in_no_file_and_no_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_markerOfThisTest")
    shop.stock(tmp_path, data=replace(DATA, source="https://me:hf_markerOfThisTest@here"))
    assert 0 == publish(tmp_path)
    for name, content in files(tmp_path / "out").items():
        assert b"hf_markerOfThisTest" not in content, name
    output = capsys.readouterr()
    assert "hf_markerOfThisTest" not in output.out + output.err


# --- refusals


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("toy-task/toy-model.onnxruntim.cpu", "has no result in .*did you mean .*toy-model.onnxruntime.cpu"),
        ("other/model.pytorch.cpu", "measure it: pytest suites -k other/model.pytorch.cpu"),
        ("toy-task/toy-model", "is not a case: write task/model.backend.device; did you mean"),
        ("../../etc/passwd", "is not a case"),
        ("toy-task/toy-model.npz.cpu", "holds weights.npz: no ONNX graph"),
    ],
)
def test_unknown_case_is_refused(tmp_path, capsys, case, message):
    shop.stock(tmp_path)
    assert 4 == publish(tmp_path, case=case)
    assert re.search(message, " ".join(capsys.readouterr().err.split()).replace("shipbench.json, ", ""))
    assert not (tmp_path / "out").exists()


def test_failed_case_is_refused(tmp_path, capsys):
    shop.stock(tmp_path)
    store.save(tmp_path / "results", factory.failed("onnxruntime", "out of memory"))
    assert 4 == publish(tmp_path)
    assert "failed at build: out of memory; measure it before it is published" in capsys.readouterr().err


def test_one_of_several_machines_must_be_named(tmp_path, capsys):
    shop.stock(tmp_path)
    shop.change(tmp_path, machine="other-machine")
    assert 4 == publish(tmp_path)
    assert "was measured on other-machine, toy-machine: name one with --machine" in capsys.readouterr().err
    assert 4 == publish(tmp_path, "--machine", "third")
    assert "was not measured on third, but on other-machine, toy-machine" in capsys.readouterr().err
    assert 0 == publish(tmp_path, "--machine", "other-machine")
    assert "machine other-machine" in text(tmp_path)


@pytest.mark.parametrize("part", ["checkpoint", "onnxruntime"])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("missing", "is gone"),
        ("changed", "is corrupt (model."),
        ("half-written", "is corrupt (shipbench.json)"),
        ("rebuilt", "was rebuilt since"),
    ],
)
def test_missing_or_changed_model_is_refused(tmp_path, capsys, part, damage, problem):
    shop.stock(tmp_path)
    (folder,) = (tmp_path / "artifacts" / "toy-task" / "toy-model").glob(f"{part}-0*[0-9a-f]")
    marker = folder / MARKER
    match damage:
        case "missing":
            folder.rename(tmp_path / "elsewhere")
        case "changed":
            next(folder.glob("model.*")).write_text("another")
        case "half-written":
            marker.unlink()
        case "rebuilt":
            marker.write_text(marker.read_text().replace('"made":', '"remade":'))
    assert 4 == publish(tmp_path)
    message = capsys.readouterr().err
    assert problem in message
    assert f"build it again: pytest suites -k {shop.CASE} " in message
    assert not (tmp_path / "out").exists()


def test_target_with_files_is_left_alone(tmp_path, capsys):
    shop.stock(tmp_path)
    (tmp_path / "out").mkdir()
    assert 0 == publish(tmp_path)
    assert 4 == publish(tmp_path)
    assert "out is not empty; name a new folder with --to" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert 4 == publish(tmp_path, to="file")
    assert "mine" == (tmp_path / "file").read_text()


def test_failed_write_leaves_nothing(tmp_path, capsys):
    shop.stock(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert 4 == publish(tmp_path, to="file/out")
    assert "cannot be written" in capsys.readouterr().err
    shop.change(tmp_path, data=None)
    assert 4 == publish(tmp_path)
    assert {"artifacts", "file", "results"} == {path.name for path in tmp_path.iterdir()}


def test_public_needs_push(tmp_path, capsys):
    assert 4 == publish(tmp_path, "--public")
    assert "needs --push" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"answers": factory.answers(lost=8)}, "undecided"),
        ({"gate": factory.Gate(min_score=0.9, max_drop=0.01, min_speedup=9)}, "below"),
        ({"gate": factory.Gate(min_score=0.99, max_drop=0.01)}, "below"),
        ({"answers": factory.answers(lost=60)}, "worse"),
    ],
)
def test_case_that_may_not_ship_is_written_only_anyway(tmp_path, capsys, changed, word):
    shop.stock(tmp_path, **changed)
    assert 4 == publish(tmp_path)
    assert f"its verdict is not ship but {word}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert 0 == publish(tmp_path, "--anyway")
    assert f"| verdict | {word}:" in text(tmp_path)


def test_reference_below_its_gate_is_written_only_anyway(tmp_path, capsys):
    shop.stock(tmp_path, gate=factory.Gate(min_score=0.99, max_drop=0.01))
    assert 4 == publish(tmp_path, case=shop.REFERENCE_CASE)
    assert "pytorch.cpu: it breaks its gate: score 0.9500 on 1000 rows is below" in capsys.readouterr().err
    assert 0 == publish(tmp_path, "--anyway", case=shop.REFERENCE_CASE)


def test_command_to_measure_runs_from_the_current_folder(tmp_path, capsys, monkeypatch):
    shop.stock(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert 4 == publish(tmp_path / "my results", case="toy-task/other.pytorch.cpu")
    assert "no such results folder" in capsys.readouterr().err
    (tmp_path / "my results" / "results").mkdir(parents=True)
    assert 4 == publish(tmp_path / "my results", case="toy-task/other.pytorch.cpu")
    command = capsys.readouterr().err.partition("measure it: ")[2].splitlines()[0]
    words = shlex.split(command)
    assert ["pytest", "-k", "toy-task/other.pytorch.cpu"] == words[:3]
    assert str(tmp_path / "my results" / "results") in words


# --- the demo


@pytest.mark.parametrize("case", [shop.CASE, shop.REFERENCE_CASE])
def test_demo_is_python_with_hostile_labels(tmp_path, case):
    hostile = ('"""\nimport os', "'); print(1) #", "${title} $told \\")
    data = replace(DATA, labels=hostile, inputs=("first\n'", 'second"""'))
    shop.stock(tmp_path, data=data, process=MEASURED)
    assert 0 == publish(tmp_path, "--demo", case=case)
    tree = ast.parse(text(tmp_path, "app.py"))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    runtime = {"onnxruntime"} if case == shop.CASE else set()
    assert {"gradio", "os", "statistics", "time", "torch"} | runtime == imported
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert list(hostile) == ast.literal_eval(values["labels"])
    assert list(dict.fromkeys([case.split(".")[1], "pytorch"])) == [key.value for key in values["RUNS"].keys]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    fields = [ast.unparse(call.keywords[0].value) for call in calls if call.func.attr == "Textbox"]
    assert {*map(repr, data.inputs), "f'{name}: time of one call'"} == set(fields)


def test_demo_folder_is_a_space_with_measured_versions(tmp_path):
    packages = {"torch": "2.13.0+cpu", "transformers": "5.24.0", "optimum-onnx": "0.1.0", "onnxruntime": "1.31.1"}
    environment = replace(factory.result().environment, packages=packages)
    shop.stock(tmp_path, process=MEASURED, environment=environment)
    assert 0 == publish(tmp_path, "--demo")
    pinned = {"torch==2.13.0", "transformers==5.24.0", "onnxruntime==1.31.1"}
    assert pinned | {f"gradio=={GRADIO}"} == set(text(tmp_path, "requirements.txt").split())
    card = metadata(tmp_path).to_dict()
    assert ("gradio", GRADIO, "app.py") == (card["sdk"], card["sdk_version"], card["app_file"])
    assert "python app.py" in text(tmp_path)
    assert 0 == publish(tmp_path, to="without")
    assert "sdk" not in metadata(tmp_path, "without").to_dict()


def test_demo_pins_the_runtime_of_its_workers(tmp_path):
    process = replace(MEASURED, settings={**MEASURED.settings, "onnxruntime": "1.23.2"})
    environment = replace(factory.result().environment, packages={"onnxruntime": "1.31.1"})
    shop.stock(tmp_path, process=process, environment=environment)
    assert 0 == publish(tmp_path, "--demo")
    pinned = text(tmp_path, "requirements.txt").split()
    assert ["onnxruntime==1.23.2"] == [name for name in pinned if name.startswith("onnxruntime")]


@pytest.mark.parametrize(("positions", "cut"), [(512, 64), (32, 32)])
def test_texts_are_cut_as_measured_within_the_models_positions(tmp_path, monkeypatch, positions, cut):
    config = shop.FILES["checkpoint"]["config.json"].replace("{", f'{{"max_position_embeddings": {positions}, ', 1)
    monkeypatch.setitem(shop.FILES, "checkpoint", shop.FILES["checkpoint"] | {"config.json": config})
    shop.stock(tmp_path, process=MEASURED)
    assert 0 == publish(tmp_path, "--demo")
    for name in ("README.md", "app.py"):
        assert f"max_length={cut}," in text(tmp_path, name)


def test_image_demo_takes_images_as_measured(tmp_path, monkeypatch):
    data = replace(DATA, kind="image-classification", inputs=("image",))
    added = {
        "preprocessor_config.json": '{"image_processor_type": "ViTImageProcessor"}',
        "example.safetensors": save({"pixel_values": np.zeros((2, 1, 8, 6), np.float32)}),
    }
    monkeypatch.setitem(shop.FILES, "checkpoint", shop.FILES["checkpoint"] | added)
    shop.stock(tmp_path, data=data, process=MEASURED)
    assert 0 == publish(tmp_path, "--demo")
    assert 'image_mode="L"' in text(tmp_path, "app.py")
    assert "image.resize((6, 8))" in text(tmp_path, "app.py")
    assert "pillow" in text(tmp_path, "requirements.txt")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "fill-mask"}, "fill-mask has no demo, only text-classification and image-classification have one"),
        ({"kind": "a suite's own"}, "a suite's own has no demo, only text"),
        ({"settings": {"openvino": "2026"}}, "toy-model.onnxruntime.cpu was measured differently"),
        ({"settings": {**MEASURED.settings, "options": "threads=1"}}, "cpu was measured differently"),
    ],
)
def test_demo_that_would_differ_from_the_measurement_is_refused(tmp_path, capsys, changed, message):
    data = replace(DATA, kind=changed.get("kind", "text-classification"))
    shop.stock(tmp_path, data=data, process=replace(MEASURED, settings=changed.get("settings", MEASURED.settings)))
    assert 4 == publish(tmp_path, "--demo")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert 0 == publish(tmp_path)


# --- licences


@pytest.mark.parametrize(
    ("stated", "name", "identifier"),
    [
        ("License-Expression: Apache-2.0", "Apache-2.0", "apache-2.0"),
        ("License: MIT License", "MIT License", "mit"),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT License", "mit"),
        ("License: the licence of my village", "the licence of my village", "other"),
        (f"License: {'a whole text ' * 20}\nClassifier: License :: OSI Approved :: MIT License", "MIT License", "mit"),
        ("License: UNKNOWN", "unknown", "unknown"),
        ("Summary: MIT", "unknown", "unknown"),
    ],
)
def test_package_states_its_licence(tmp_path, monkeypatch, stated, name, identifier):
    distribution(tmp_path, "toy-weights")
    with next(tmp_path.glob("*/METADATA")).open("a") as file:
        file.write(f"{stated}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    licence = base_model(shop.RECIPE)[1]
    assert (name, identifier) == (licence.name, licence.identifier)
    assert licence == data_licence("toy-weights: rows.csv", "00")


@pytest.mark.parametrize(
    ("card", "name"), [("---\nlicense: cc-by-4.0\n---\n", "cc-by-4.0"), ("---\nlicense: [a, b]\n---\n", "a, b")]
)
def test_fetched_card_states_its_licence(tmp_path, monkeypatch, card, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "datasets--toys--glue" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    assert "unknown" == data_licence("toys/glue mrpc", COMMIT).name
    (folder / "README.md").write_text(card)
    assert name == data_licence("toys/glue mrpc", COMMIT).name


@pytest.mark.parametrize("source", [{"type": "Native"}, {"type": "Scratch"}, {"type": "Local", "path": "mine"}, {}])
def test_unstated_licence_is_unknown(source):
    assert "unknown" == base_model({"source": source})[1].identifier
