"""Experts that become one: which, in what order their neurons are, and how the router goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from driftmoe.nn.experts import FeedForwardExperts
from driftmoe.nn.lora import LoRAExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.neurons import neurons_of, with_neurons
from driftmoe.nn.surgery.parts import (
    Shares,
    balancer_of,
    changed,
    check_finite,
    check_layer,
    copied,
    flat,
    n_routed,
    number,
    ranked,
    rebuilt,
    refuse_router_of_experts,
    selected,
    shares_of,
    untracked,
)
from driftmoe.nn.surgery.policies import Merged
from driftmoe.routing import Policy, as_rule
from driftmoe.routing.checks import check_count


def groups(similarity: Tensor, usage: Shares | None, n: int) -> tuple[tuple[int, ...], ...]:
    """Group experts around the most used ones: every other joins the one that it is most like.

    Parameters
    ----------
    similarity
        Result of `similarity`, or any other likeness, shape (n_experts, n_experts).
    usage
        How much each expert is used: `usage(records)[name]` or a number for each; `None` for all alike.
    n
        Number of groups.

    Returns
    -------
    groups
        Numbers of experts; each group begins with its most used one, around which it is. The groups are in the order of
        these. Of equal experts the lower number wins.

    Raises
    ------
    ValueError
        If the likeness is not square or not finite, or there cannot be so many groups.

    References
    ----------
    MC-SMoE, Li et al. 2023 (arXiv 2310.01334), sec. 3.2: dominant experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import groups
    >>> likeness = torch.tensor([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    >>> groups(likeness, [0.2, 0.3, 0.5], 2)
    ((1,), (2, 0))
    """
    if not isinstance(similarity, Tensor):
        raise TypeError(
            f"groups: similarity is a {type(similarity).__name__}; give a tensor, such as `similarity` returns"
        )
    if similarity.dim() != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(
            f"groups: similarity of shape {tuple(similarity.shape)}; give (n_experts, n_experts)"
        )
    check_finite(similarity, "groups: similarity holds NaN or infinite numbers; give finite ones")
    check_count("groups: n", n)
    if not 1 <= n <= len(similarity):
        raise ValueError(f"groups: n={n} of {len(similarity)} experts; choose 1 <= n <= {len(similarity)}")
    order = ranked(shares_of("groups", usage, len(similarity)))
    first = sorted(order[:n])
    members = {e: [e] for e in first}
    for e in order[n:]:
        members[first[int(similarity[e, first].argmax())]].append(e)
    return tuple(tuple(members[e]) for e in first)


@untracked
def merge(
    layer: MoELayer,
    groups: Sequence[Sequence[int]],
    *,
    usage: Shares | None = None,
    align: bool = True,
) -> MoELayer:
    """Return a layer in which the experts of each group are one, their mean by use.

    Parameters
    ----------
    layer
        The layer, which stays as it is. The new one has copies of its parts, except that the shared expert is the same
        module.
    groups
        Numbers of experts, as the router counts them; each expert in one group, such as `groups(...)` gives them. The
        first of a group is the one that the others are aligned with.
    usage
        How much each expert is used: `usage(records)[name]` or a number for each. Default, and where all of a group are
        0: alike.
    align
        Whether the hidden neurons of the others are first put in the order in which they are most like those of the
        first. Two experts that differ by the order of neurons compute the same, but their mean is something else. For
        LoRA experts, which are matrices of low rank, there is a better way than to reorder ranks: the matrix of the
        given rank that is nearest to the mean of the matrices.

    Returns
    -------
    layer
        The new layer, with an expert for each group in their order. The router stays, and the policy is `Merged`: it
        chooses among all experts that there were, and a group gets the weights of its members. So the merging of equal
        experts changes nothing. The biases of a balancer become means by use. The parts of a grown layer become one,
        which learns if one of them did.

    Raises
    ------
    ValueError
        If the groups do not hold each expert once, or experts of a group are of different kinds or sizes.
    TypeError
        If experts are of a kind that is not known, or are read by the router, as in `mora` and `flylora`.

    Notes
    -----
    The order of neurons maximises the sum of their products, weights in and out, by the Hungarian method: n_hidden³ for
    each expert at worst.

    References
    ----------
    MC-SMoE, Li et al. 2023 (arXiv 2310.01334), sec. 3.2: W = sum_i a_i P_i(W_i) / sum_i a_i with the frequencies a_i
    and permutations P_i of Ainsworth et al. 2023, "Git Re-Basin" (arXiv 2209.04836), sec. 3.2. Eckart and Young 1936
    for LoRA experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import groups, merge, similarity
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> used = [0.4, 0.3, 0.2, 0.1]
    >>> small = merge(layer, groups(similarity(layer), used, 2), usage=used)
    >>> small.experts.n_experts, small(torch.randn(5, 8)).routing.mask.shape
    (2, torch.Size([5, 2]))
    """
    check_layer("merge", layer)
    n = n_routed(layer)
    given = list(groups) if isinstance(groups, Iterable) else [groups]
    if not all(isinstance(group, Iterable) and not isinstance(group, str) for group in given):
        raise TypeError(
            f"merge: groups={groups!r:.200}; give a list of groups, each a list of experts from 0 to {n - 1}, such as "
            "the result of `groups`"
        )
    listed = [[number("merge: groups hold", e) for e in group] for group in given]
    if sorted(e for group in listed for e in group) != list(range(n)) or not all(listed):
        raise ValueError(
            f"merge: groups={listed}; give each of the {n} experts, from 0 to {n - 1}, once, and no empty group"
        )
    refuse_router_of_experts("merge", layer)
    share = shares_of("merge", usage, n)
    weights = [_of_group(share, group) for group in listed]
    n_shared = as_rule(layer.policy).n_shared
    if listed == [[e] for e in range(n)]:
        experts = selected(layer.experts, range(n_shared + n))
    else:
        whole = flat("merge", layer.experts)
        apart = [[e] for e in range(n_shared)] + [[n_shared + e for e in group] for group in listed]
        all_weights = [torch.ones(1, dtype=torch.float64)] * n_shared + weights
        if isinstance(whole, LoRAExperts) and align:
            experts = _low_rank(whole, apart, all_weights)
        else:
            experts = _mean(whole, apart, all_weights, align)
    balancer = balancer_of(
        layer,
        lambda bias: torch.stack([bias[g] @ w.to(bias) for g, w in zip(listed, weights, strict=True)]),
    )
    policy = merged_policy(layer.policy, listed)
    return changed(layer, copied(layer.router), experts, policy, balancer)


def merged_policy(policy: Policy, groups: Sequence[Sequence[int]]) -> Policy:
    """Return the policy of a layer in which the experts of each group are one."""
    number = {e: i for i, group in enumerate(groups) for e in group}
    group_of = tuple(number[e] for e in range(len(number)))
    if isinstance(policy, Merged):  # experts that were merged before
        return Merged(policy.policy, tuple(group_of[e] for e in policy.group_of))
    return policy if group_of == tuple(range(len(groups))) else Merged(policy, group_of)


def _of_group(share: Tensor, group: Sequence[int]) -> Tensor:
    """Return the weights of the experts of a group, which sum to 1."""
    of_group = share[list(group)]
    return of_group / of_group.sum() if of_group.sum() > 0.0 else torch.full_like(of_group, 1.0 / len(group))


def _mean(
    experts: FeedForwardExperts | LoRAExperts,
    groups: Sequence[Sequence[int]],
    weights: Sequence[Tensor],
    align: bool,
) -> nn.Module:
    """Return the mean of the neurons of each group, after they have been put in order."""
    neurons, made = neurons_of(experts), []
    for group, of_group in zip(groups, weights, strict=True):
        first = neurons[group[0]]
        mean = first * of_group[0].item()
        for e, weight in zip(group[1:], of_group[1:].tolist(), strict=True):
            mean = mean + weight * (neurons[e][aligned(first, neurons[e])] if align else neurons[e])
        made.append(mean)
    rest = {}
    if isinstance(experts, FeedForwardExperts) and experts.b_out is not None:
        bias = experts.b_out.detach().to(neurons.dtype)
        rest["b_out"] = torch.stack(
            [w.to(bias) @ bias[list(group)] for group, w in zip(groups, weights, strict=True)]
        )
    return with_neurons(experts, torch.stack(made), rest)


def aligned(reference: Tensor, neurons: Tensor) -> Tensor:
    """Return the order in which neurons are most like those of a reference, both of shape (n_hidden, n)."""
    likeness = (reference @ neurons.T).double().cpu().numpy()
    return torch.from_numpy(linear_sum_assignment(likeness, maximize=True)[1]).to(neurons.device)


def _low_rank(experts: LoRAExperts, groups: Sequence[Sequence[int]], weights: Sequence[Tensor]) -> nn.Module:
    """Return LoRA experts whose matrices are as near to the means of those of each group as their rank allows.

    A = Q R and B = S T by QR give Aᵀ B = Qᵀ (R Tᵀ) S, so that the decomposition is of a small matrix. The rows of the
    new A have one length, the mean of what they had, and B holds the singular values: ranks that are not needed have
    B = 0 and learn as in a new LoRA.
    """
    wide = torch.promote_types(experts.a.dtype, torch.float32)
    a, b = experts.a.detach().to(wide), experts.b.detach().to(wide)
    rank = a.shape[1]
    new_a, new_b = [], []
    for group, of_group in zip(groups, weights, strict=True):
        members = list(group)
        if len(members) == 1:
            new_a.append(a[members[0]])
            new_b.append(b[members[0]])
            continue
        scaled = b[members] * of_group.to(b)[:, None, None]
        q, r = torch.linalg.qr(a[members].flatten(0, 1).T)  # (n_in, m), (m, group · rank)
        s, t = torch.linalg.qr(scaled.flatten(0, 1).T)
        u, values, v = torch.linalg.svd(r @ t.T, full_matrices=False)
        u, values, v = u[:, :rank], values[:rank], v[:rank]
        length = a[members].norm(dim=-1).mean().clamp_min(torch.finfo(wide).tiny)
        rows, columns = (q @ u).T * length, (values[:, None] / length) * (v @ s.T)
        n_spare = rank - len(rows)  # a rank beyond the widths, of which nothing is needed
        new_a.append(torch.cat([rows, a[members[0], :n_spare]]))
        new_b.append(torch.cat([columns, torch.zeros_like(b[members[0], :n_spare])]))
    made = {"a": torch.stack(new_a), "b": torch.stack(new_b)}
    return rebuilt(experts, lambda name, p: made[name].to(p.dtype))
