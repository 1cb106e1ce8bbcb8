"""One pool of trees shared among workers: each has some of the trees, and takes each block of the stream.

Trees are independent of each other, given the weights with which they learn. These are drawn in one place, so that the
votes are those of the whole pool, to the last bit, on any number of workers.

A block costs a message to each worker with all its rows, and one back with the votes: 8 bytes a row for each feature,
and for each tree and class. That pays only where trees take far longer than messages, which `benchmarks/README.md`
measures. On one machine threads pass no messages.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, Self

import numpy as np

from driftmoe.draws import poisson
from driftmoe.extras import install
from driftmoe.trees import TreePool


class Shard:
    """Some trees of a pool, which take blocks in order.

    Parameters
    ----------
    trees
        Pools of one tree each.

    Examples
    --------
    >>> import numpy as np
    >>> from driftmoe.engines.sharded import Shard
    >>> from driftmoe.trees import TreePool
    >>> shard = Shard([TreePool(1, seed=1)])
    >>> shard.step(0, np.zeros((3, 2)), np.array([0, 1, 1]), np.ones((3, 1))).shape
    (3, 1, 2)
    >>> shard.step(2, np.zeros((3, 2)), np.array([0, 1, 1]), np.ones((3, 1)))
    Traceback (most recent call last):
        ...
    ValueError: block 2 came, and 1 is the next; a block was lost or came twice, so that these trees are not those of \
the stream any more: begin anew from a saved pool
    """

    def __init__(self, trees: Sequence[TreePool]) -> None:
        self._trees, self._next = list(trees), 0

    def step(self, number: int, vectors: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Predict each row and then learn it, with every tree; see `TreePool.step`.

        Parameters
        ----------
        number
            Number of the block, from 0.
        vectors, targets, weights
            The block, and the weight of each row for each tree of this shard.

        Raises
        ------
        ValueError
            If this is not the next block, or cannot be read.
        """
        if number != self._next:
            raise ValueError(
                f"block {number} came, and {self._next} is the next; a block was lost or came twice, so that these "
                "trees are not those of the stream any more: begin anew from a saved pool"
            )
        votes = [tree.step(vectors, targets, weights[:, e : e + 1]) for e, tree in enumerate(self._trees)]
        self._next += 1
        return np.concatenate(votes, axis=1)

    def predict_proba(self, vectors: np.ndarray) -> np.ndarray:
        """Return the class probabilities of each tree; see `TreePool.predict_proba`."""
        return np.concatenate([tree.predict_proba(vectors) for tree in self._trees], axis=1)

    def trees(self) -> list[TreePool]:
        """Return the trees."""
        return self._trees


class Workers(Protocol):
    """Where shards live.

    Examples
    --------
    One of your own, which asks one shard after the other:

    >>> class Here:
    ...     def __init__(self, shards):
    ...         self.shards = shards
    ...     def ask(self, method, arguments):
    ...         return [getattr(shard, method)(*given) for shard, given in zip(self.shards, arguments)]
    ...     def close(self):
    ...         pass
    >>> import numpy as np
    >>> from driftmoe.engines.sharded import ShardedTrees
    >>> from driftmoe.trees import TreePool
    >>> with ShardedTrees(TreePool(4, seed=1), 2, Here) as trees:
    ...     trees.step(np.zeros((1, 3)), np.array([1]), np.ones((1, 4))).shape
    (1, 4, 2)
    """

    def ask(self, method: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of each shard with arguments of its own, all at the same time, and return what they return."""

    def close(self) -> None:
        """End the workers."""


class Threads:
    """Shards in threads of this process.

    Parameters
    ----------
    shards
        The shards, one a thread.

    Examples
    --------
    >>> from driftmoe.engines.sharded import ShardedTrees, Threads
    >>> from driftmoe.trees import TreePool
    >>> with ShardedTrees(TreePool(4, seed=1), 2, Threads) as trees:
    ...     trees.gathered().n_experts
    4
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards, self._threads = shards, ThreadPoolExecutor(len(shards))

    def ask(self, method: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of each shard; see `Workers`."""
        calls: list[Future[Any]] = [
            self._threads.submit(getattr(shard, method), *given)
            for shard, given in zip(self._shards, arguments, strict=True)
        ]
        return [call.result() for call in calls]

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


class DaskActors:
    """Shards as actors of a Dask cluster, which live in its workers.

    Parameters
    ----------
    shards
        The shards, of which each becomes one actor.
    client
        A `distributed.Client`.

    Raises
    ------
    ImportError
        If Dask.distributed is not installed.

    Examples
    --------
    >>> import distributed  # doctest: +SKIP
    >>> client = distributed.Client("tcp://10.0.0.1:8786")  # doctest: +SKIP
    >>> trees = ShardedTrees(TreePool(500), 10, lambda shards: DaskActors(shards, client))  # doctest: +SKIP
    """

    def __init__(self, shards: Sequence[Shard], client: Any) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise ImportError(f"actors need Dask.distributed; {install('dask')}") from None
        workers = sorted(client.scheduler_info()["workers"])
        placed = [
            client.submit(Shard, shard.trees(), actor=True, pure=False, workers=[workers[i % len(workers)]])
            for i, shard in enumerate(shards)
        ]
        self._actors = [one.result() for one in placed]

    def ask(self, method: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of each actor; see `Workers`."""
        calls = [getattr(actor, method)(*given) for actor, given in zip(self._actors, arguments, strict=True)]
        return [call.result() for call in calls]

    def close(self) -> None:
        """Let the actors go."""
        self._actors = []


class ShardedTrees:
    """A pool of trees, shared among workers; its votes are those of the pool, to the last bit.

    Parameters
    ----------
    pool
        The trees to begin with. The pool itself does not learn.
    n_shards
        Number of shards, at most one a tree.
    workers
        Takes the shards, and returns where they live: `Threads`, or ``lambda shards: DaskActors(shards, client)``.
    leverage, seed
        Mean and seed of the Poisson weights, which are drawn here, for all workers.

    Raises
    ------
    ValueError
        If there are more shards than trees, or none.

    Examples
    --------
    >>> import numpy as np
    >>> from driftmoe.engines.sharded import ShardedTrees
    >>> from driftmoe.trees import TreePool
    >>> rng = np.random.default_rng(1)
    >>> X, y = rng.normal(size=(500, 3)), rng.integers(2, size=500)
    >>> weights = rng.poisson(6.0, size=(500, 4)).astype(float)
    >>> with ShardedTrees(TreePool(4, seed=1), 2) as trees:
    ...     votes = trees.step(X, y, weights)
    >>> np.array_equal(votes, TreePool(4, seed=1).step(X, y, weights))
    True
    """

    def __init__(
        self,
        pool: TreePool,
        n_shards: int,
        workers: Callable[[Sequence[Shard]], Workers] = Threads,
        *,
        leverage: float = 6.0,
        seed: int = 1,
    ) -> None:
        if not 1 <= n_shards <= pool.n_experts:
            raise ValueError(
                f"n_shards={n_shards}; there are {pool.n_experts} trees, choose 1 to {pool.n_experts}"
            )
        self._pool, self._next, self._n_seen = pool, 0, 0
        self._leverage, self._key = leverage, np.uint64(seed)
        self._columns: tuple[np.ndarray, np.ndarray] | None = None
        self._experts = [range(s, pool.n_experts, n_shards) for s in range(n_shards)]
        self._workers = workers([Shard([pool.clone(e) for e in experts]) for experts in self._experts])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._workers.close()

    def step(self, vectors: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Predict each row of the next block and then learn it, with every tree.

        Parameters
        ----------
        vectors
            float64, shape (n_rows, n_features).
        targets
            Class indices, shape (n_rows,).
        weights
            Weight of each row for each tree, shape (n_rows, n_experts). Default: Poisson draws.

        Returns
        -------
        expert_proba
            Votes before learning, shape (n_rows, n_experts, n_classes).

        Raises
        ------
        ValueError
            If the block cannot be read, or a worker has missed one. The trees must then begin anew from a saved pool.
        """
        if weights is None:
            weights = np.empty((len(vectors), self._pool.n_experts))
            poisson(self._key, np.int64(self._n_seen), self._leverage, weights)
        number, self._next = self._next, self._next + 1
        self._n_seen += len(vectors)
        if len(vectors):
            self._columns = vectors[:1], np.array([max(int(targets.max()), 0)])
        given = [
            (number, vectors, targets, weights[:, experts.start :: experts.step]) for experts in self._experts
        ]
        return self._joined(self._workers.ask("step", given))

    def predict_proba(self, vectors: np.ndarray) -> np.ndarray:
        """Return the class probabilities of each tree, shape (n_rows, n_experts, n_classes); changes nothing."""
        return self._joined(self._workers.ask("predict_proba", [(vectors,)] * len(self._experts)))

    def gathered(self) -> TreePool:
        """Return one pool of all trees as they are now, which goes on as the pool would have without shards."""
        pool = copy.deepcopy(self._pool)
        if self._columns is not None:  # let it know them, as the trees do
            row, target = self._columns
            pool.learn(row, target, np.zeros((1, pool.n_experts)))
        asked: list[tuple[()]] = [()] * len(self._experts)
        for experts, trees in zip(self._experts, self._workers.ask("trees", asked), strict=True):
            for e, tree in zip(experts, trees, strict=True):
                pool.replace(e, tree)
        return pool

    def _joined(self, votes: Sequence[np.ndarray]) -> np.ndarray:
        """Return the votes of all shards in the order of trees."""
        n_rows, n_classes = len(votes[0]), max(one.shape[2] for one in votes)
        joined = np.zeros((n_rows, sum(one.shape[1] for one in votes), n_classes))
        for experts, of_shard in zip(self._experts, votes, strict=True):
            joined[:, experts.start :: experts.step, : of_shard.shape[2]] = of_shard
        return joined
