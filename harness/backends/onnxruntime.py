"""ONNX Runtime: the float export, its optimised graph, and its int8 form. Workers import no torch."""

from __future__ import annotations

import platform
import re
import warnings
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import checkpoint
from harness.contracts import Arrays, Backend, Device, Kind, Session, Target
from harness.environment import cpu_flags
from harness.errors import Unsupported
from harness.quiet import quiet

FILE = "model.onnx"
INTEGER = re.compile("Integer|Quantize")
"""Operators that a quantised graph has and a float one has not."""


def export(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Export a checkpoint: Transformers models through Optimum, native ones through torch's own exporter."""
    import onnx

    with quiet():
        exporter = _export_native(source, out, kind) if checkpoint.is_native(source) else _export(source, out, kind)
    opset = max(entry.version for entry in onnx.load(out / FILE, load_external_data=False).opset_import)
    return {"exporter": exporter, "opset": str(opset), "onnx": version("onnx")}


def _export(source: Path, out: Path, kind: Kind) -> str:
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.exporters.tasks import TasksManager

    model: Any = checkpoint.load(source)
    known = TasksManager.get_supported_tasks_for_model_type(
        model.config.model_type, "onnx", library_name="transformers"
    )
    if kind.name not in known:
        raise Unsupported(
            f"Optimum exports no {kind.name} head for {model.config.model_type}; it has {', '.join(known)}"
        )
    # Optimum's validation only warns; the pipeline compares every answer with the reference instead.
    onnx_export_from_model(model, out, task=kind.name, do_validation=False)
    return f"optimum-onnx {version('optimum-onnx')}"


def _export_native(source: Path, out: Path, kind: Kind) -> str:
    import onnx
    import torch

    example = {name: torch.from_numpy(array) for name, array in checkpoint.example(source).items()}
    program = torch.onnx.export(
        checkpoint.load(source),
        kwargs=example,
        dynamo=True,
        verbose=False,
        output_names=["logits"],
        dynamic_shapes={name: dict(enumerate(kind.axes)) for name in example},
    )
    assert program is not None
    model = program.model_proto
    # The quantiser transposes weights in place; shapes noted for the old ones would make it stumble.
    del model.graph.value_info[:]
    onnx.save(model, out / FILE)
    return f"torch.onnx {torch.__version__}"


def optimise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Optimum's O2: ONNX Runtime's basic and extended optimisations and its transformer fusions, all in float."""
    if not (source / "config.json").exists():
        raise Unsupported(
            "ORTOptimizer needs a Transformers model type to choose its fusions; a native module has none"
        )
    from optimum.onnxruntime import ORTOptimizer
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    with quiet():
        try:
            optimizer = ORTOptimizer.from_pretrained(source)
        except (KeyError, NotImplementedError) as error:
            raise Unsupported(f"ORTOptimizer: {error}") from error
        optimizer.optimize(AutoOptimizationConfig.O2(), save_dir=out, file_suffix=None)
    return {"optimizer": f"ORTOptimizer O2, optimum-onnx {version('optimum-onnx')}"}


def quantise(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Dynamic int8 with the preset that suits this machine's CPU.

    It starts from the plain float export: Optimum's fused O2 graph has nodes that the quantiser does not know. ONNX
    Runtime's own pre-processing folds constants first, since the quantiser passes over weights that the graph computes
    (an exported LSTM's are).
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    preset = int8_preset(platform.machine(), cpu_flags())
    if preset in ("avx2", "avx512") and "avx_vnni" not in cpu_flags():
        warnings.warn("this CPU has no VNNI instructions, int8 is slower here than on one that has", stacklevel=2)
    with quiet(), TemporaryDirectory(dir=out) as scratch:
        folded = Path(scratch) / FILE
        quant_pre_process(str(source / FILE), str(folded), skip_symbolic_shape=True)
        config = getattr(AutoQuantizationConfig, preset)(is_static=False)
        ORTQuantizer(folded).quantize(config, save_dir=out, file_suffix=None)
    operators = Counter(node.op_type for node in onnx.load(out / FILE).graph.node)
    return {
        "quantizer": f"ORTQuantizer dynamic {preset}, optimum-onnx {version('optimum-onnx')}",
        "preset": preset,
        "operators": ", ".join(f"{name} {n}" for name, n in sorted(operators.items()) if INTEGER.search(name)),
    }


def int8_preset(machine: str, flags: frozenset[str]) -> str:
    """Name of Optimum's quantisation preset for a CPU with these flags."""
    if machine.lower() in ("arm64", "aarch64"):
        return "arm64"
    if {"avx512_vnni", "avx512vnni"} & flags:
        return "avx512_vnni"
    return "avx512" if "avx512f" in flags else "avx2"


def unavailable(device: Device) -> str | None:
    """The CPU-only distribution knows no CUDA."""
    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return 'onnxruntime-gpu is not installed; run: python -m pip install -e ".[gpu]"' if device == "cuda" else None
    return None


def load(artifact: Path, target: Target) -> Session:
    """An inference session on the device's own execution provider, whose idle threads sleep unless told to spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = target.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    spinning = "1" if target.spinning else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    if target.device == "cuda":
        onnxruntime.preload_dlls()
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[target.device]
    session = onnxruntime.InferenceSession(str(artifact / FILE), options, providers=[provider])
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        try:
            given = {name: arrays[name] for name in inputs}
        except KeyError as missing:
            raise ValueError(f"the graph asks for {missing}, the processor gives {', '.join(arrays)}") from None
        return dict(zip(outputs, session.run(outputs, given), strict=True))

    providers = session.get_providers()
    return Session(
        run=run,
        device="cuda" if providers[0] == "CUDAExecutionProvider" else "cpu",
        settings={
            "onnxruntime": onnxruntime.__version__,
            "providers": ",".join(providers),
            "threads": str(session.get_session_options().intra_op_num_threads),
            "allow_spinning": spinning,
        },
    )


ONNXRUNTIME = Backend(name="onnxruntime", build=export, load=load, unavailable=unavailable)
ONNXRUNTIME_O2 = Backend(name="onnxruntime-o2", source=ONNXRUNTIME, build=optimise, load=load, unavailable=unavailable)
ONNXRUNTIME_INT8 = Backend(
    name="onnxruntime-int8",
    source=ONNXRUNTIME,
    build=quantise,
    load=load,
    lossy=True,
    # ONNX Runtime's CUDA provider has no kernels for dynamically quantised matrix products.
    devices=("cpu",),
)
