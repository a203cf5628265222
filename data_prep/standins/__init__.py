"""What is drawn in place of CelebA and 3D Chairs where they are not at hand; it says so."""
