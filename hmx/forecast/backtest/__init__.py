"""Backtest: score forecasts on steps and blocks that the model has not seen."""
