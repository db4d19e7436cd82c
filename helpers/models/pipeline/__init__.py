"""Configs of the old Object Detection API, read and converted."""
