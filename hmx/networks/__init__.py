"""Networks: torch only, each states its own reach."""
