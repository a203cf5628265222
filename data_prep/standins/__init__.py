"""What is drawn in place of CelebA and 3D Chairs where those are not at hand; it says so wherever it is shown."""
