"""Version 2 of critters, in which only shapes and positions identify parts.

Colours and textures do not: they are sampled from one distribution, independently for every individual,
each of its parts, the background and the clutter. Bodies are rotated, flipped and foreshortened;
parts swing, bend, taper and stretch, are lit from any side, and some are hidden. A kind is a combination of
shapes (see `kinds`), and each shape is shared by eight kinds.
"""
