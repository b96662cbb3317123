"""Partial sorts that find the best k by comparing a few documents at a time; who compares, and how, is the caller's.

Binary comparisons make the heap and bubble sorts of PRP (arXiv 2306.17563), larger sets those of Setwise (2310.09497).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rerankbench.rerankers.requests import Rounds, by_order
from rerankbench.rerankers.strategies.asking import Asking, OutOfBudget, top_then_rest
from rerankbench.types import Candidate

Pick = Callable[[list[Candidate]], Asking[Candidate]]
"""The best of some candidates, found by asking."""


def heap_sort(candidates: Sequence[Candidate], k: int, children: int, pick: Pick) -> Rounds:
    """The best k, taken from a heap whose nodes have `children`; `pick` is given a node, then its children.

    Stopped by the budget: what was taken, then the rest in first-stage order.
    """
    heap = list(candidates)
    top: list[Candidate] = []
    try:
        for parent in reversed(range((len(heap) - 2) // children + 1)):
            yield from _sift(heap, parent, children, pick)
        while heap and len(top) < k:
            top.append(heap[0])
            last = heap.pop()
            if heap and len(top) < k:  # nothing is asked after the k-th is out
                heap[0] = last
                yield from _sift(heap, 0, children, pick)
    except OutOfBudget:
        pass
    return top_then_rest(candidates, top)


def _sift(heap: list[Candidate], node: int, children: int, pick: Pick) -> Asking[None]:
    """Let a node sink until it is the best of itself and its children."""
    while below := heap[node * children + 1 : (node + 1) * children + 1]:
        best = yield from pick([heap[node], *below])
        if best is heap[node]:
            return
        child = node * children + 1 + next(i for i, candidate in enumerate(below) if candidate is best)
        heap[node], heap[child] = heap[child], heap[node]
        node = child


def bubble_sort(candidates: Sequence[Candidate], k: int, step: int, pick: Pick) -> Rounds:
    """The best k, by k passes of windows of `step` + 1 from the bottom; the best of each moves to the window's front.

    Stopped by the budget: the list as it is.
    """
    order = list(candidates)
    try:
        for front in range(min(k, len(order) - 1)):
            end = len(order)
            while end - front > 1:
                start = max(front, end - step - 1)
                best = yield from pick(order[start:end])
                index = next(i for i in range(start, end) if order[i] is best)
                order.insert(start, order.pop(index))
                end = start + 1
    except OutOfBudget:
        return by_order(order)
    return top_then_rest(candidates, order[:k])
