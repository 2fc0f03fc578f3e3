"""Physicians' own outlines of what we segmented: compared with ours, and watched over the cases."""
