// Fourier features of weights over a cyclic group of n elements: F_k = (1/n) Σ_j exp(−2πi jk/n) w_j, k = 1 … ⌊n/2⌋.
function transform(weights, snapshot, units, order) {
  const n = order.length;
  const m = Math.floor(n / 2);
  const angle = (2 * Math.PI) / n;
  const [cosines, sines] = [new Float64Array(n), new Float64Array(n)];
  for (let j = 0; j < n; j++) [cosines[j], sines[j]] = [Math.cos(angle * j) / n, Math.sin(angle * j) / n];
  const [re, im, power] = [new Float64Array(m * units), new Float64Array(m * units), new Float64Array(units)];
  const mean = new Float64Array(units);
  const column = new Float64Array(n);
  for (let u = 0; u < units; u++) {
    for (let j = 0; j < n; j++) column[j] = weights(snapshot, u, order[j]);
    for (let j = 0; j < n; j++) mean[u] += column[j] / n;
    for (let k = 1; k <= m; k++) {
      let [a, b] = [0, 0];
      for (let j = 0, at = 0; j < n; j++, at = (at + k) % n) {
        a += cosines[at] * column[j];
        b -= sines[at] * column[j];
      }
      re[(k - 1) * units + u] = a;
      im[(k - 1) * units + u] = b;
      power[u] += a * a + b * b;
    }
  }
  return { n, m, units, re, im, power, mean };
}

// The place k − 1 of the strongest frequency of a unit.
function strongest(F, unit) {
  let best = 0;
  for (let k = 1; k < F.m; k++) if (powerOf(F, k, unit) > powerOf(F, best, unit)) best = k;
  return best;
}

function powerOf(F, k, unit) {
  const place = k * F.units + unit;
  return F.re[place] ** 2 + F.im[place] ** 2;
}

// The cosine mean + A cos(2πkj/n − φ) of a unit: its amplitude A and its phase φ in (−π, π].
function cosineOf(F, k, unit) {
  const place = k * F.units + unit;
  const factor = 2 * (k + 1) === F.n ? 1 : 2;
  return { mean: F.mean[unit], amplitude: factor * Math.hypot(F.re[place], F.im[place]), phase: Math.atan2(-F.im[place], F.re[place]) };
}
