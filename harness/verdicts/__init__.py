"""How results are judged: speed, accuracy, the verdict, the recommendation, and what may be compared at all."""
