"""Simulated dashcam footage with exact boxes: the course's own data."""
