"""Metrics as `evaluate.Metric` subclasses: `evaluate.load` would ask the Hub for the code.

`evaluate` takes seconds to import, so the classes lie in modules of their own and are named here.
"""

METRICS = {
    "accuracy": "harness.metrics.classification:Accuracy",
    "f1-macro": "harness.metrics.classification:MacroF1",
}
