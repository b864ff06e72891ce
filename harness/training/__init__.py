"""Fine-tune a model on a task's rows: the recipe, two training loops, and the checkpoint they leave."""
