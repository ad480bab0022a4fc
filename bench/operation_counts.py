"""Count the operations on registers in a step, and from them the least time that the processor at hand allows.

The counts follow the loops of the kernels: useful multiply-adds, padding to whole registers and tiles, H (gathers,
transposes, ReLU), partial sums, updates, and all loads and stores that the registers of the level make necessary. They
leave out calls, addresses, branches, arithmetic of single numbers, the latency of dependent operations, and memory
beyond the L1 cache.

A step takes at least the longest of three times: of arithmetic, of loads, and of stores. In the time of arithmetic, an
operation counts with the time by which it extends multiply-adds next to it. This is nothing on processors that perform
it in other units, and a whole multiply-add on processors whose multiplying units perform everything. These costs are
measured (csrc/core/math/operation_costs_benchmark.hpp). There is no table of processors.

The model covers ReLU, pairs as inputs, and n ≤ h for the predicted gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from step_cases import Case


@dataclass(frozen=True)
class Operations:
    """Numbers of operations on registers. Simple ones are additions, minima, comparisons, shifts and logic."""

    multiply_adds: float = 0
    simple: float = 0
    permutes: float = 0
    loads: float = 0
    stores: float = 0

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.multiply_adds + other.multiply_adds,
            self.simple + other.simple,
            self.permutes + other.permutes,
            self.loads + other.loads,
            self.stores + other.stores,
        )

    def __rmul__(self, times: float) -> Operations:
        return Operations(
            times * self.multiply_adds,
            times * self.simple,
            times * self.permutes,
            times * self.loads,
            times * self.stores,
        )

    def seconds(self, costs: Mapping[str, float]) -> float:
        """Return the least time at the costs of a processor, in seconds by name of the operation."""
        names = {"multiply_add": self.multiply_adds, "simple": self.simple, "permute": self.permutes}
        arithmetic = sum(costs[name] * count for name, count in names.items())
        return max(arithmetic, costs["load"] * self.loads, costs["store"] * self.stores)


@dataclass(frozen=True)
class Registers:
    """The registers of a level, for numbers of some bits."""

    bytes: int
    count: int
    bits: int

    @property
    def lanes(self) -> int:
        """Numbers in a register."""
        return self.bytes * 8 // self.bits

    @property
    def transpose(self) -> Operations:
        """The transpose of a square in registers."""
        return Operations(permutes=self.lanes * math.log2(self.lanes))


def count_operations(case: Case, registers: Registers) -> Operations:
    """Return the operations of a step."""
    if case.dynamics == "descent":
        return count_forward(case, registers) + count_backward(case, registers)
    return PredictedStep(case, registers).count()


def is_counted(case: Case) -> bool:
    """Whether the model covers the case."""
    return case.activation == "relu" and (case.dynamics == "descent" or case.n <= case.h)


def useful(case: Case, registers: Registers) -> float:
    """Return the useful multiply-adds of a step, in registers without padding."""
    return case.flops / 2 / registers.lanes


# Descent: csrc/core/descent/. G = 2c (H W − Y), then gW, gE and the updates. H = σ(X E) is computed in both phases.

_GATHERED = Operations(simple=2, loads=2)  # two rows of E or Eᵀ, an addition and a minimum


def count_forward(case: Case, registers: Registers) -> Operations:
    """Count the outputs: with samples along the lanes if registers are long, else with units along the lanes."""
    L, p = registers.lanes, case.p
    strips, units = math.ceil(case.n / L), math.ceil(case.h / L)
    tiles = math.ceil(p / (12 if registers.count == 32 else 6))
    if registers.bytes == 64:
        blocks = math.ceil(case.h / 192) if tiles > 1 else 1
        row = math.ceil(p / L)  # registers in a row of Eᵀ
        products = Operations(p, loads=p / 2)  # for a unit; a number of W serves two strips of samples
        if row <= 6:
            hidden = _GATHERED + Operations(permutes=2, stores=tiles > 1, loads=tiles - 1)
        else:
            hidden = _GATHERED + 1 / L * registers.transpose + Operations(stores=1, loads=tiles)
        ends = blocks * p * Operations(1, loads=1, stores=1)
        return strips * (case.h * (products + hidden) + ends)
    stored = tiles > 2
    pairs, parts, blocks = math.ceil(case.n / 2), registers.bytes // 16, math.ceil(units / 32)
    hidden = 2 * (_GATHERED + Operations(stores=1, loads=tiles - 1) if stored else tiles * _GATHERED)
    neighbours = Operations(simple=1, permutes=2, stores=1)
    products = units * (Operations(2 * p, loads=p) + hidden) + blocks * p * neighbours
    folds = (L // 2 - 1) * Operations(simple=1, permutes=2) if parts > 1 else Operations()
    again = (blocks - 1) * pairs * p * Operations(simple=1, loads=1)
    finish = folds + Operations(1, 1, loads=L / 2 + 1, stores=1)
    return pairs * products + again + strips * p * finish


def count_backward(case: Case, registers: Registers) -> Operations:
    """Count gW, gE and the updates, with units along the lanes."""
    L, p, n = registers.lanes, case.p, case.n
    long = registers.bytes == 64
    units = math.ceil(case.h / L)
    tiles = math.ceil(p / (13 if registers.count == 32 else 6))
    chunks = math.ceil(n / (192 if long else 256))
    row = math.ceil(p / L)
    scatter = Operations(simple=2, loads=2, stores=2)
    if registers.count == 16:  # groups of samples share the addition into one of the two rows
        group = min(4, L)
        scatter = Operations(simple=2 + 1 / group, loads=1 + 1 / group, stores=1 + 1 / group)
    between = (tiles - 1) * Operations(loads=2, stores=1) + Operations(stores=tiles > 1)  # H and gH
    sample = Operations(2 * p, loads=p) + _GATHERED + tiles * Operations(simple=1) + between
    sample += Operations(simple=2) + scatter  # the mask
    rows = Operations(2, loads=2, stores=2)
    update = p * rows + p * Operations(2, loads=1, stores=1)
    carried = chunks * p * Operations(loads=1) + (chunks - 1) * p * Operations(loads=1, stores=1)  # W and gW
    if long and row <= 6:
        update += row * (registers.transpose + Operations(stores=L))
    return units * (n * sample + update + carried)


# The predicted gradient: csrc/core/predicted_gradient/ and csrc/linalg/. Panels are three registers wide.

_PANEL = 3


@dataclass(frozen=True)
class PredictedStep:
    """A step of the predicted gradient: H, K and its factor with the solves, H again, W, gH, ΔE and the update."""

    case: Case
    registers: Registers

    @property
    def width(self) -> int:
        """Numbers in a row of a panel."""
        return _PANEL * self.registers.lanes

    @property
    def tile(self) -> int:
        """Rows of a tile: the most that divide the panel's width and fit the registers, with the operands."""
        rows = 8 if self.registers.count == 32 else 4
        while self.width % rows or rows * _PANEL + _PANEL + 1 > self.registers.count:
            rows -= 1
        return rows

    @property
    def slice(self) -> int:
        """The depth of a product between two visits to its result."""
        return 18 * 1024 // (_PANEL * self.registers.bytes)

    def count(self) -> Operations:
        """Count everything."""
        samples = self.count_hidden(transposed=True) + self.count_factor() + self.count_transposed_solve()
        return samples + self.count_hidden(transposed=False) + self.count_gradient()

    def vectors(self, count: int) -> list[float]:
        """Return the registers in a row of each panel of `count` numbers, with long registers in halves."""
        full, rest = divmod(count, self.width)
        parts = 2 if self.registers.bytes == 64 else 1
        return [_PANEL] * full + ([math.ceil(parts * rest / self.registers.lanes) / parts] if rest else [])

    def columns(self) -> list[int]:
        """Return the columns of each panel of K: whole tiles."""
        padded = math.ceil(self.case.n / self.tile) * self.tile
        return [min(self.width, padded - first) for first in range(0, self.case.n, self.width)]

    def count_hidden(self, *, transposed: bool) -> Operations:
        """Count H in panels of units; in panels of samples if transposed."""
        L = self.registers.lanes
        units, rows = math.ceil(self.case.h / L), math.lcm(L, self.tile)
        entry = _GATHERED + Operations(stores=1)
        if not transposed:
            return self.case.n * units * entry
        return math.ceil(self.case.n / rows) * rows * units * (entry + 1 / L * self.registers.transpose)

    def product(self, depth: int, rows: int, vectors: float, visits: int = 0) -> Operations:
        """Count a tile of a product. `visits` are additions to a stored result. A half register counts as half."""
        inner = depth * Operations(rows * vectors, loads=rows + vectors)
        return inner + rows * vectors * (Operations(stores=1) + visits * Operations(simple=1, loads=1, stores=1))

    @cache  # noqa: B019 — of one short-lived object
    def square(self, depth: int, columns: int, vectors: float, *, diagonal: bool, updates: bool) -> Operations:
        """Count a product of two panels, of which a diagonal one needs only tiles below the diagonal."""
        visits = self.visits(depth) - 1
        total, column = Operations(), 0
        while column < columns:
            used = vectors - (column // self.registers.lanes if diagonal else 0)
            rows = min(_PANEL * self.tile, columns - column) if used <= 1 else self.tile
            total += self.product(depth, rows, used, visits)
            if updates:
                total += rows * used * Operations(simple=1, loads=1)
            if diagonal:  # columns in the upper half of their first register need only this half
                halved = sum(self.needs_half(at) for at in range(column, column + rows))
                total += -halved / 2 * (depth * Operations(1) + Operations(int(updates), loads=int(updates), stores=1))
            column += rows
        return total

    def visits(self, depth: int) -> int:
        """Return the number of slices of a product."""
        return max(1, math.floor(depth / self.slice + 0.5))

    def transposes(self, depth: int, columns: int, used: int) -> bool:
        """Whether a product of two panels is computed transposed, because many lanes of its rows would be empty."""
        L = self.registers.lanes
        part = L // 2 if self.registers.bytes == 64 else L
        empty = math.ceil(used / part) * part - used
        return columns == self.width and empty * depth / self.visits(depth) > 8 * math.ceil(used / L) * L

    def transposed_product(self, depth: int, used: int, *, updates: bool) -> Operations:
        """Count a product of two panels by its transpose, for `used` rows."""
        L, visits, total = self.registers.lanes, self.visits(depth), Operations()
        for row in range(0, used, self.tile):
            total += self.product(depth, min(self.tile, used - row), _PANEL)
        squares = _PANEL * math.ceil(used / L)
        copies = L * (Operations(loads=1, stores=1) + updates * Operations(simple=1, loads=1))
        return total + visits * squares * (self.registers.transpose + copies)

    def needs_half(self, column: int) -> bool:
        """Whether a column needs only half of the register on the diagonal."""
        return self.registers.bytes == 64 and column % self.registers.lanes >= self.registers.lanes // 2

    def count_factor(self) -> Operations:
        """Count K = H Hᵀ, its factor, and the right-hand sides."""
        columns, total = self.columns(), Operations()
        block = self.panels_of_block()
        rows = self.vectors(self.case.n) + self.vectors(self.case.p)
        used = [min(self.width, m - at) for m in (self.case.n, self.case.p) for at in range(0, m, self.width)]
        half = self.tile // 2
        for j, count in enumerate(columns):
            needed = math.ceil(used[j] / half) * half  # columns, in half tiles
            before = j // block * block * self.width  # columns of the blocks before
            inside = j * self.width - before
            for i in range(j, len(rows)):
                diagonal = i == j
                vectors = math.ceil(needed / self.registers.lanes) if diagonal else rows[i]
                depths = [(depth, True) for depth in (before, inside) if depth]
                if i < len(columns):
                    depths.append((self.case.h, False))
                else:
                    total += self.width * math.ceil(vectors) * Operations(loads=1, stores=1)
                for depth, updates in depths:
                    if not diagonal and self.transposes(depth, needed, used[i]):
                        total += self.transposed_product(depth, used[i], updates=updates)
                    else:
                        total += self.square(depth, needed, vectors, diagonal=diagonal, updates=updates)
                if diagonal:
                    total += self.count_diagonal(count)
                else:
                    total += self.triangle(count, rows[i])
        return total

    def panels_of_block(self) -> int:
        """Return the panels in a block of K, which has about a fifth of the rows."""
        rows = min(max((self.case.n // 5 + 24) // 48 * 48, 48), 192)
        return rows // self.width

    @cache  # noqa: B019 — as above
    def triangle(self, columns: int, vectors: float) -> Operations:
        """Count a solve with a diagonal square."""
        total = Operations()
        for before in range(0, columns, self.tile):
            total += self.product(before, self.tile, vectors) + self.elimination(vectors)
            total += self.tile * vectors * Operations(simple=1, loads=1)
        return total

    def elimination(self, vectors: float) -> Operations:
        """Count the elimination inside a tile: multiples of its columns, and their scales."""
        pairs = self.tile * (self.tile + 1) / 2
        return Operations(pairs * vectors, loads=pairs)

    def count_diagonal(self, size: int) -> Operations:
        """Count the factor of a diagonal square, by elimination in blocks of columns, without its pivots."""
        L, R, total = self.registers.lanes, self.tile, Operations()
        for begin in range(0, size, R):
            vectors = math.ceil((size - begin // L * L) / L)
            if begin:
                total += self.product(begin, R, vectors) + R * vectors * Operations(simple=1, loads=1)
            total += self.elimination(vectors) + R * vectors * Operations(loads=1, stores=1)
        return total

    def count_transposed_solve(self) -> Operations:
        """Count B = L⁻ᵀ R: each square below the diagonal, and the diagonal squares."""
        columns, total = self.columns(), Operations()
        used = [min(self.width, self.case.n - first) for first in range(0, self.case.n, self.width)]
        block = self.panels_of_block()
        for vectors in self.vectors(self.case.p):
            for j, count in enumerate(columns):
                tiles = count // self.tile
                last_of_block = min((j // block + 1) * block, len(columns))
                for later in (used[j + 1 : last_of_block], *self._blocks(used, last_of_block, block)):
                    if later:
                        end = self.tile * vectors * Operations(simple=1, loads=1)
                        total += tiles * (self.product(sum(later), self.tile, vectors) + end)
                total += self.triangle(count, vectors)
        return total

    @staticmethod
    def _blocks(columns: list[int], first: int, block: int) -> list[list[int]]:
        return [columns[at : at + block] for at in range(first, len(columns), block)]

    def count_gradient(self) -> Operations:
        """Count W = Hᵀ B, gZ = (B Wᵀ) ⊙ σ'(Z), ΔE = Xᵀ gZ − E and the update of E."""
        n, p, R, total = self.case.n, self.case.p, self.tile, Operations()
        units = math.ceil(self.case.h / self.registers.lanes)
        if p <= self.most_outputs(1):
            together = 2 if p <= self.most_outputs(2) else 1  # registers of units
            rest = units % together
            return units // together * self.gradient_of_units(together) + rest * self.gradient_of_units(1)
        visits = self.visits(n) - 1
        for vectors in self.vectors(self.case.h):
            for first in range(0, p, R):
                total += self.product(n, min(R, p - first), vectors, visits)
            for first in range(0, n, R):
                rows = min(R, n - first)
                total += self.product(p, rows, vectors) + rows * vectors * Operations(simple=3, loads=1)
            total += 2 * n * vectors * Operations(simple=1, loads=1)
            total += p * vectors * Operations(1, 1, loads=2, stores=1)
        return total

    def most_outputs(self, vectors: int) -> int:
        """Return the most outputs for which W of some registers of units stays in registers."""
        return min(self.width, 28 // vectors - 1) if self.registers.count == 32 else 0

    def gradient_of_units(self, vectors: int) -> Operations:
        """Count W, gZ, ΔE and the update of E for one or two registers of units, with W in registers."""
        p = self.case.p
        product = Operations(p * vectors, loads=p)
        mask = Operations(simple=3, loads=1)
        scatter = Operations(simple=2, loads=2, stores=2)
        sample = 2 * product + vectors * (mask + scatter) + Operations(simple=vectors == 1)  # a sum in two parts
        ends = Operations(1, 1, loads=2, stores=3)  # W, an initial zero of ΔE, and E
        return self.case.n * sample + p * vectors * ends
