"""What maintainers run on the course itself; learners never need it."""
