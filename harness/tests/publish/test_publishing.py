"""A published folder: what is in it, what its card says, and what is refused."""

import ast
import re
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
from harness.publish.demo import GRADIO
from harness.publish.licences import of_data, of_model
from harness.results import store
from harness.results.schema import Bounds
from harness.util.store import MARKER

COMMIT = "c" * 40
ENDS = ("low", "high")


def publish(folder: Path, *options: str, case: str = shop.CASE, to: str = "out") -> int:
    return main(["publish", case, "--to", str(folder / to), *shop.options(folder), *options])


def page(folder: Path) -> str:
    return (folder / "out" / "README.md").read_text()


def test_a_folder_stands_alone(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    own = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "onnx/config.json", "onnx/model.onnx"}
    evidence = {f"shipbench/toy-model.{name}.cpu.json" for name in ("pytorch", "onnxruntime", "onnxruntime-o2", "npz")}
    assert own | evidence == found
    assert "id2label" in (tmp_path / "out" / "onnx" / "config.json").read_text()  # the checkpoint's, not a guess
    assert ["artifacts", "out", "results"] == sorted(path.name for path in tmp_path.iterdir())


def test_what_runs_the_checkpoint_takes_no_graphs_along(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path, case=shop.REFERENCE_CASE)
    assert not (tmp_path / "out" / "onnx").exists()


def test_metadata_is_read_by_huggingface_hub(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    known = ModelCard.load(tmp_path / "out" / "README.md").data
    assert ("unknown", "transformers", "text-classification") == (known.license, known.library_name, known.pipeline_tag)
    (found,) = known.eval_results
    assert ("accuracy", 0.95, "00", "test") == (
        found.metric_type,
        found.metric_value,
        found.dataset_revision,
        found.dataset_split,
    )
    assert 1000 == found.metric_args["rows"]
    assert known.base_model is None
    assert known.datasets is None


def test_the_score_has_the_exact_interval_of_a_share(tmp_path):
    shop.stock(tmp_path, answers=factory.answers(rows=100, score=0.9, right="1" * 90 + "0" * 10))
    assert 0 == publish(tmp_path)
    (found,) = ModelCard.load(tmp_path / "out" / "README.md").data.eval_results
    assert (0.8238, 0.9510) == (round(found.metric_args["low"], 4), round(found.metric_args["high"], 4))
    assert r"accuracy 0.9000 \[0.8238, 0.9510\], 95 % interval, on 100 test rows" in page(tmp_path)
    assert r"| its interval | exact for a share of rows (Clopper and Pearson) |" in page(tmp_path)


def test_any_other_score_has_the_interval_that_was_drawn(tmp_path):
    data = replace(factory.result().data, metric="f1")
    shop.stock(tmp_path, data=data, answers=factory.answers(score=0.9, score_bounds=Bounds(low=0.87, high=0.93)))
    assert 0 == publish(tmp_path)
    (found,) = ModelCard.load(tmp_path / "out" / "README.md").data.eval_results
    assert ("f1", 0.9, 0.87, 0.93) == (found.metric_type, found.metric_value, *(found.metric_args[k] for k in ENDS))
    assert r"f1 0.9000 \[0.8700, 0.9300\], 95 % interval, on 1000 test rows" in page(tmp_path)
    assert "| its interval | percentile bootstrap over rows, 2,000 resamples of a fixed seed |" in page(tmp_path)


def test_a_result_without_such_an_interval_says_so(tmp_path):
    shop.stock(tmp_path, data=replace(factory.result().data, metric="f1"))
    assert 0 == publish(tmp_path)
    assert r"f1 0.9500 (no interval is on record) on 1000 test rows" in page(tmp_path)
    assert "its interval" not in page(tmp_path)


def test_the_card_holds_table_environment_verdict_and_licences(tmp_path):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    text = page(tmp_path)
    for wanted in ("| onnxruntime *", "abacus, 2 cores", "| verdict | ship:", "toydata: rows.csv", "max\\_length=64"):
        assert wanted.replace("\\", "") in text
    assert 'file_name="model.onnx"' in text
    assert "toy-weights: bert: unknown (the PyPI package toy-weights is not installed here" in text


def test_data_of_the_hub_has_a_file_of_results_that_the_hub_reads(tmp_path, capsys):
    from yaml import safe_load

    data = factory.result().data
    data = type(data)(**{**vars(data), "source": "nyu-mll/glue mrpc", "source_sha256": COMMIT})
    shop.stock(tmp_path, data=data)
    assert 0 == publish(tmp_path)
    (found,) = safe_load((tmp_path / "out" / ".eval_results" / "shipbench.yaml").read_text())
    # All that the Hub requires: https://huggingface.co/docs/hub/eval-results
    assert {"id": "nyu-mll/glue", "task_id": "mrpc", "revision": COMMIT} == found["dataset"]
    assert (0.95, "2026-01-01T00:00:00+00:00") == (found["value"], str(found["date"]))
    known = ModelCard.load(tmp_path / "out" / "README.md").data
    assert ["nyu-mll/glue"] == known.datasets
    (told,) = known.eval_results
    assert ("nyu-mll/glue", "mrpc", "nyu-mll/glue mrpc") == (told.dataset_type, told.dataset_config, told.dataset_name)
    assert "was not written" not in capsys.readouterr().out


def test_data_of_elsewhere_has_none_and_the_command_says_why(tmp_path, capsys):
    shop.stock(tmp_path)
    assert 0 == publish(tmp_path)
    assert not (tmp_path / "out" / ".eval_results").exists()
    assert "it is of datasets on the Hub, and toydata: rows.csv is none" in capsys.readouterr().out


def test_names_of_others_are_inert_in_the_card(tmp_path):
    data = factory.result().data
    hostile = "<img src=x onerror=alert(1)> [a](javascript:b) `| @all\n---\n# title"
    shop.stock(tmp_path, data=type(data)(**{**vars(data), "source": hostile, "labels": ("```\nimport os", "b")}))
    assert 0 == publish(tmp_path)
    _, text = page(tmp_path).split("\n---\n", 1)
    assert "<img" not in text.replace(r"\<img", "")
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    assert "\n# title" not in text
    assert 2 == len(re.findall("^```", text, re.MULTILINE))
    (told,) = ModelCard.load(tmp_path / "out" / "README.md").data.eval_results
    assert hostile == told.dataset_name
    assert re.fullmatch(r"[\w.-]+", told.dataset_type, re.ASCII)  # all that the Hub takes


def test_paths_of_this_machine_stay_here(tmp_path):
    data = factory.result().data
    recipe = {"source": {"type": "Local", "path": "/home/somebody/model"}}
    shop.stock(tmp_path, data=type(data)(**{**vars(data), "source": "/home/somebody/rows.csv"}), recipe=recipe)
    assert 0 == publish(tmp_path)
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [] == [path.name for path in kept if b"somebody/" in path.read_bytes()]
    assert "rows.csv" in page(tmp_path)


def test_a_token_of_the_environment_is_in_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_markerOfThisTest")
    data = factory.result().data
    shop.stock(tmp_path, data=type(data)(**{**vars(data), "source": "https://me:hf_markerOfThisTest@here"}))
    assert 0 == publish(tmp_path)
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"hf_markerOfThisTest" not in path.read_bytes(), path
    said = capsys.readouterr()
    assert "hf_markerOfThisTest" not in said.out + said.err


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("toy-task/toy-model.onnxruntim.cpu", "was never measured.*did you mean .*toy-model.onnxruntime.cpu"),
        ("other/model.pytorch.cpu", r'measure it: pytest suites -k "other/model.pytorch.cpu"'),
        ("toy-task/toy-model", "is no case: write task/model.backend.device; did you mean"),
        ("../../etc/passwd", "is no case"),
        ("toy-task/toy-model.npz.cpu", "holds weights.npz: no ONNX graph"),
    ],
)
def test_a_case_that_is_not_there_is_refused(tmp_path, capsys, case, said):
    shop.stock(tmp_path)
    assert 4 == publish(tmp_path, case=case)
    assert re.search(said, " ".join(capsys.readouterr().err.split()).replace("shipbench.json, ", ""))
    assert not (tmp_path / "out").exists()


def test_a_case_that_failed_is_refused_with_its_reason(tmp_path, capsys):
    shop.stock(tmp_path)
    store.save(tmp_path / "results", factory.failed("onnxruntime", "out of memory"))
    assert 4 == publish(tmp_path)
    assert "failed at build: out of memory; there is nothing to publish" in capsys.readouterr().err


def test_of_several_machines_one_is_to_be_named(tmp_path, capsys):
    shop.stock(tmp_path)
    shop.change(tmp_path, machine="other-machine")
    assert 4 == publish(tmp_path)
    assert "was measured on other-machine, toy-machine: name one with --machine" in capsys.readouterr().err
    assert 4 == publish(tmp_path, "--machine", "third")
    assert "was not measured on third, but on other-machine, toy-machine" in capsys.readouterr().err
    assert 0 == publish(tmp_path, "--machine", "other-machine")
    assert "machine other-machine" in page(tmp_path)


@pytest.mark.parametrize("part", ["checkpoint", "onnxruntime"])
@pytest.mark.parametrize("harm", ["gone", "changed", "half-written", "built again"])
def test_what_is_gone_or_changed_is_refused_with_how_to_build_it(tmp_path, capsys, part, harm):
    shop.stock(tmp_path)
    (folder,) = (tmp_path / "artifacts" / "toy-task" / "toy-model").glob(f"{part}-0*[0-9a-f]")
    marker = folder / MARKER
    match harm:
        case "gone":
            folder.rename(tmp_path / "elsewhere")
        case "changed":
            next(folder.glob("model.*")).write_text("another")
        case "half-written":
            marker.unlink()
        case "built again":
            marker.write_text(marker.read_text().replace('"made":', '"remade":'))
    assert 4 == publish(tmp_path)
    told = capsys.readouterr().err
    known = {
        "gone": "is gone",
        "changed": "is corrupt (model.",
        "half-written": "is half-written",
        "built again": "since",
    }
    assert known[harm] in told
    assert f'build it again: pytest suites -k "{shop.CASE}"' in told
    assert not (tmp_path / "out").exists()


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path, capsys):
    shop.stock(tmp_path)
    (tmp_path / "out").mkdir()
    assert 0 == publish(tmp_path)
    assert 4 == publish(tmp_path)
    assert "out is not empty; name a new folder with --to" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert 4 == publish(tmp_path, to="file")
    assert "mine" == (tmp_path / "file").read_text()


def test_what_cannot_be_written_leaves_nothing(tmp_path, capsys):
    shop.stock(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert 4 == publish(tmp_path, to="file/out")
    assert "cannot be written" in capsys.readouterr().err
    shop.change(tmp_path, data=None)
    assert 4 == publish(tmp_path)
    assert {"artifacts", "file", "results"} == {path.name for path in tmp_path.iterdir()}


MEASURED = factory.process(settings={"providers": "CPUExecutionProvider"})


@pytest.mark.parametrize("case", [shop.CASE, shop.REFERENCE_CASE])
def test_a_demo_lies_beside_the_model_and_its_text_is_python_whatever_labels_say(tmp_path, case):
    hostile = ('"""\nimport os', "'); print(1) #", "${title} $told \\")
    data = replace(factory.result().data, labels=hostile, inputs=("first\n'", 'second"""'))
    shop.stock(tmp_path, data=data, process=MEASURED)
    assert 0 == publish(tmp_path, "--demo", case=case)
    tree = ast.parse((tmp_path / "out" / "app.py").read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {"gradio", "os", "statistics", "time", "torch"} == imported
    (labels,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "labels"]
    assert list(hostile) == ast.literal_eval(labels)
    fields = [ast.unparse(node.keywords[0].value) for node in ast.walk(tree) if is_call(node, "Textbox")]
    assert {*map(repr, data.inputs), "f'{name}: time of one call'"} == set(fields)
    runs = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "RUNS"]
    assert list(dict.fromkeys([case.split(".")[1], "pytorch"])) == [key.value for key in runs[0].keys]


def is_call(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def test_a_demos_card_is_a_spaces_and_its_requirements_are_what_was_measured(tmp_path):
    found = factory.result().environment
    packages = {"torch": "2.13.0+cpu", "transformers": "4.57.6", "optimum-onnx": "0.1.0", "onnxruntime": "1.31.1"}
    shop.stock(tmp_path, process=MEASURED, environment=replace(found, packages=packages))
    assert 0 == publish(tmp_path, "--demo")
    wanted = {"torch==2.13.0", "transformers==4.57.6", "optimum-onnx[onnxruntime]==0.1.0", "onnxruntime==1.31.1"}
    assert wanted | {f"gradio=={GRADIO}"} == set((tmp_path / "out" / "requirements.txt").read_text().split())
    known = ModelCard.load(tmp_path / "out" / "README.md").data.to_dict()
    assert ("gradio", GRADIO, "app.py") == (known["sdk"], known["sdk_version"], known["app_file"])
    assert "python app.py" in page(tmp_path)
    assert 0 == publish(tmp_path, to="without")
    assert "sdk" not in ModelCard.load(tmp_path / "without" / "README.md").data.to_dict()


def test_a_demo_asks_for_the_release_that_its_workers_had(tmp_path):
    there = replace(MEASURED, settings={**MEASURED.settings, "onnxruntime": "1.23.2"})
    environment = replace(factory.result().environment, packages={"onnxruntime": "1.31.1"})
    shop.stock(tmp_path, process=there, environment=environment)
    assert 0 == publish(tmp_path, "--demo")
    wanted = (tmp_path / "out" / "requirements.txt").read_text().split()
    assert ["onnxruntime==1.23.2"] == [name for name in wanted if name.startswith("onnxruntime")]


@pytest.mark.parametrize(("positions", "cut"), [(512, 64), (32, 32)])
def test_texts_are_cut_as_they_were_but_never_beyond_the_models_positions(tmp_path, positions, cut):
    config = shop.FILES["checkpoint"]["config.json"].replace("{", f'{{"max_position_embeddings": {positions}, ', 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shop.FILES, "checkpoint", shop.FILES["checkpoint"] | {"config.json": config})
        shop.stock(tmp_path, process=MEASURED)
    assert 0 == publish(tmp_path, "--demo")
    for text in (page(tmp_path), (tmp_path / "out" / "app.py").read_text()):
        assert f"max_length={cut}," in text


def test_a_demo_of_images_asks_for_them_as_they_were_measured(tmp_path):
    data = replace(factory.result().data, kind="image-classification", inputs=("image",))
    files = {"preprocessor_config.json": '{"image_processor_type": "ViTImageProcessor"}'}
    example = save({"pixel_values": np.zeros((2, 1, 8, 6), np.float32)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shop.FILES, "checkpoint", shop.FILES["checkpoint"] | files | {"example.safetensors": example})
        shop.stock(tmp_path, data=data, process=MEASURED)
    assert 0 == publish(tmp_path, "--demo")
    text = (tmp_path / "out" / "app.py").read_text()
    assert 'image_mode="L"' in text
    assert "image.resize((6, 8))" in text
    assert "pillow" in (tmp_path / "out" / "requirements.txt").read_text()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "fill-mask"}, "there is none for fill-mask, only for text-classification and image-classification"),
        ({"kind": "a suite's own"}, "there is none for a suite's own, only for text"),
        ({"settings": {"openvino": "2026"}}, "toy-model.onnxruntime.cpu was measured as something else"),
        ({"settings": {**MEASURED.settings, "options": "threads=1"}}, "cpu was measured as something else"),
    ],
)
def test_what_no_demo_would_show_truly_is_refused_before_anything_is_written(tmp_path, capsys, changed, said):
    data = replace(factory.result().data, kind=changed.get("kind", "text-classification"))
    shop.stock(tmp_path, data=data, process=replace(MEASURED, settings=changed.get("settings", MEASURED.settings)))
    assert 4 == publish(tmp_path, "--demo")
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert 0 == publish(tmp_path)


@pytest.mark.parametrize("option", ["--public", "--anyway"])
def test_options_of_an_upload_are_refused_without_one(tmp_path, capsys, option):
    assert 4 == publish(tmp_path, option)
    assert "go with --push" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("metadata", "name", "identifier"),
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
def test_a_licence_is_what_the_package_states(tmp_path, monkeypatch, metadata, name, identifier):
    distribution(tmp_path, "toy-weights")
    with next(tmp_path.glob("*/METADATA")).open("a") as file:
        file.write(f"{metadata}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = of_model(shop.RECIPE)
    assert (name, identifier) == (found.name, found.identifier)
    assert found == of_data("toy-weights: rows.csv", "00")


@pytest.mark.parametrize(
    ("card", "name"), [("---\nlicense: cc-by-4.0\n---\n", "cc-by-4.0"), ("---\nlicense: [a, b]\n---\n", "a, b")]
)
def test_a_licence_is_what_a_fetched_card_states(tmp_path, monkeypatch, card, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "datasets--toys--glue" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    assert "unknown" == of_data("toys/glue mrpc", COMMIT).name
    (folder / "README.md").write_text(card)
    assert name == of_data("toys/glue mrpc", COMMIT).name


@pytest.mark.parametrize("source", [{"type": "Native"}, {"type": "Scratch"}, {"type": "Local", "path": "mine"}, {}])
def test_a_licence_that_nobody_states_is_unknown(source):
    assert "unknown" == of_model({"source": source}).identifier
