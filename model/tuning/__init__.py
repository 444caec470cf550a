"""Search for settings of a run, judged on what is validated inside its training past; optuna samples and prunes."""
