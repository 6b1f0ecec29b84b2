"""Version 2 of critters, which needs shapes and positions of parts.

Nothing else identifies a part: colours and textures are drawn from one distribution, anew for every
individual, every part of it, the background and the clutter. Bodies are rotated, flipped and foreshortened;
parts swing, bend, taper and stretch, are lit from any side, and some are hidden. A kind is a combination of
shapes (see `kinds`), and each shape is shared by eight kinds.
"""
