// Fourier features of weights over a cyclic group of n elements: F_k = (1/n) Σ_j exp(−2πi jk/n) w_j, k = 1 … ⌊n/2⌋.
// Arrays over the frequencies and units have k as the slow index. The power of a frequency is |F_k|², best is the place
// k − 1 of the strongest one, and order sorts the units by it.
function transform(weights, snapshot, units, order) {
  const n = order.length;
  const m = Math.floor(n / 2);
  const angle = (2 * Math.PI) / n;
  const [cosines, sines] = [new Float64Array(n), new Float64Array(n)];
  for (let j = 0; j < n; j++) [cosines[j], sines[j]] = [Math.cos(angle * j) / n, Math.sin(angle * j) / n];
  const [re, im, powers] = [new Float64Array(m * units), new Float64Array(m * units), new Float64Array(m * units)];
  const [total, mean, best] = [new Float64Array(units), new Float64Array(units), new Int32Array(units)];
  const column = new Float64Array(n);
  for (let u = 0; u < units; u++) {
    for (let j = 0; j < n; j++) column[j] = weights(snapshot, u, order[j]);
    for (let j = 0; j < n; j++) mean[u] += column[j] / n;
    for (let k = 1; k <= m; k++) {
      let [a, b] = [0, 0];
      for (let j = 0, at = 0; j < n; j++) {
        a += cosines[at] * column[j];
        b -= sines[at] * column[j];
        at += k;
        if (at >= n) at -= n;
      }
      const place = (k - 1) * units + u;
      [re[place], im[place], powers[place]] = [a, b, a * a + b * b];
      total[u] += powers[place];
      if (powers[place] > powers[best[u] * units + u]) best[u] = k - 1;
    }
  }
  const share = (u) => (total[u] > 0 ? powers[best[u] * units + u] / total[u] : 0);
  const shares = Float64Array.from(total.keys(), share);
  const places = Array.from(total.keys()).sort((u, v) => best[u] - best[v] || shares[v] - shares[u]);
  return { n, m, units, re, im, powers, total, mean, best, shares, order: places };
}

// The cosine mean + A cos(2πkj/n − φ) of a unit: its amplitude A and its phase φ in (−π, π].
function cosineOf(F, k, unit) {
  const place = k * F.units + unit;
  const factor = 2 * (k + 1) === F.n ? 1 : 2;
  return { mean: F.mean[unit], amplitude: factor * Math.hypot(F.re[place], F.im[place]), phase: Math.atan2(-F.im[place], F.re[place]) };
}
