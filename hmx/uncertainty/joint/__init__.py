"""Joint: draws of whole maps, in which pixels vary together as past errors did."""
