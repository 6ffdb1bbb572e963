"""From rows and a goal to a recipe, with the reason for each of its settings.

`kinds` holds what is known of each kind of autoencoder and of each goal, as tables; `rules` turns what was measured
into settings; `choose` puts them together.
"""

from isthmus.advice.choose import Advice, advise
from isthmus.advice.kinds import KINDS, Kind
from isthmus.advice.rules import GOALS, Choice

__all__ = ["GOALS", "KINDS", "Advice", "Choice", "Kind", "advise"]
