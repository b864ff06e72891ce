"""Judgement of results: speed, accuracy, the verdict, the recommendation, and comparability."""
