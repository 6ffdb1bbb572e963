"""From rows and a goal to a recipe, with the reason for each of its settings.

`kinds` is a table of the kinds of autoencoder with their strengths and limits; `rules` is a table of the goals, and
turns measurements into settings; `choose` combines them.
"""

from isthmus.advice.choose import Advice, advise
from isthmus.advice.kinds import KINDS, Kind
from isthmus.advice.rules import GOALS, Choice

__all__ = ["GOALS", "KINDS", "Advice", "Choice", "Kind", "advise"]
