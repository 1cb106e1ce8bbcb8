"""Hoeffding trees in arrays: a pool of them, and one alone as a river estimator.

The tree is the VFDT of Domingos & Hulten 2000 with the naive Bayes leaves of Gama, Rocha & Medas 2003, in the variant
of river's `HoeffdingTreeClassifier`: the same splits after the same samples and the same probabilities. Sums run in
river's order, because a rounding error decides whether the grace period of a leaf is over. As in river, a leaf whose
best candidate is the null split (not to split) forgets its observations. It differs from river on purpose where:

- Predicting changes nothing. river's nominal observer notes a class when it is asked for its probability, which moves
  that class in the order of sums and so breaks ties. Here learning notes it, as if each sample had been predicted just
  before.
- A class without weight at a leaf has no vote there. river gives it the likelihood 1 for any value.
- A nominal feature whose split is invalid (too little weight in all branches but one) never splits a leaf. river splits
  on it when no feature has a valid split, the bound is below tau and the feature comes last.
- Where features are numeric, naive Bayes adds up its votes in another order; and exp, log and erf are our own, the same
  on every processor (`driftmoe.arithmetic`). A tie to the last bit may end differently.
- Among features of equal merit the last column wins, among values of equal merit the lowest code, and the branches of
  a nominal split are in the order of their codes. river's orders are those of arrival at the leaf, of a set, and of
  the values.
- A sample of weight 0 is not seen. river counts its class and its values.
- A variance below the smallest normal number counts as none, and no density is below exp(-1e300).
- The bound on memory is a number of nodes, not of bytes: see `grow.may_grow`.

All code on the way of a sample is compiled; one call serves all trees of a pool, row after row (`steps.step`). In the
order in which a sample meets them: `scan` checks it, `descend` finds its leaf, `leaf` predicts, `observe` learns,
`split` looks for the best split, `grow` makes it, `adwin` watches the errors.
"""

from driftmoe.trees.hoeffding import HoeffdingTreeClassifier
from driftmoe.trees.pool import TreePool

__all__ = ["HoeffdingTreeClassifier", "TreePool"]
