"""Version 2 of critters, which only parts can solve.

A part is known by its shape and its place in a body, and by nothing else: colours and textures are drawn
anew for every individual and every part of it, for the background, and for what lies about, all from one
distribution. Bodies turn, flip and foreshorten; parts swing, bend, taper and stretch, are lit from any
side, and some are hidden. A kind is a combination of shapes (`kinds`), each of which eight kinds have.
"""
