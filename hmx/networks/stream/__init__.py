"""Stream: a second executor of the recursive ConvLSTM, which streams rows."""
