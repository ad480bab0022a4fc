// Medians of the runs in a square of a map.

// The median step of an event by the estimate of Kaplan and Meier, as zeroloss.survival.median computes it. A run without
// a step is censored at its end. Infinity if too few runs have the event, NaN without runs.
function medianStep(steps, ends) {
  const runs = steps.map((step, i) => (Number.isFinite(step) ? { at: step, happened: 1 } : { at: ends[i], happened: 0 }));
  const known = runs.filter(({ at }) => !Number.isNaN(at));
  if (!known.length) return NaN;
  known.sort((a, b) => (a.at === b.at ? b.happened - a.happened : a.at - b.at));
  let left = 1; // the share of runs without the event
  for (const [place, { at, happened }] of known.entries()) {
    if (!happened) continue;
    left *= 1 - 1 / (known.length - place);
    if (left <= 0.5 + 1e-7) return at;
  }
  return Infinity;
}

// The median of numbers without NaN; NaN if there are none.
function median(numbers) {
  const sorted = numbers.filter((value) => !Number.isNaN(value)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const middle = sorted.length >> 1;
  if (!sorted.length) return NaN;
  return sorted.length % 2 || sorted[middle] === sorted[middle - 1] ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
