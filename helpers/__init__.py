"""Helpers of the course: one module per lesson, named with the lesson's words."""
