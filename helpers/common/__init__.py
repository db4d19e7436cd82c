"""What every stage uses and none owns: errors, artifacts, files, images, downloads."""
