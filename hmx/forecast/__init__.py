"""Judge forecasts: baselines, backtests and scorecards."""
