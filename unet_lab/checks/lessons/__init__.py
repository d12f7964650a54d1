"""The "Your turn" exercises, one file a lesson."""
