// The trace of the Hessian of the squared error on the zero-loss set, and its gradient. On the set the Hessian is the
// Gauss–Newton matrix 2c JᵀJ. With Z = X E, H = σ(Z), S = σ'(Z) and S₂ = σ''(Z), its trace is
//   2c [d_out ‖H‖² + Σ_iu |x_i|² S_iu² |W_u|²],
// and the gradient of this trace is
//   E: 4c Xᵀ[d_out H ⊙ S + |x|² S ⊙ S₂ ⊙ |W_u|²],   W: 4c (Σ_i |x_i|² S_iu²) W_u.
// Biases of the outputs add the constant 2c n d_out. Shapes: X n × d_in, E d_in × h, W h × d_out, or h + 1 × d_out with
// these biases as the last row. Python entry: python/zeroloss/curvature/traces.py. Test: tests/test_noise_flow.py.
#pragma once

#include "curvature.hpp"

namespace zeroloss {

/// Computes the trace at (E, W) and its gradient (gE, gW). c is the scale of the loss. Second derivatives of piecewise
/// linear activations are 0.
inline double gauss_newton_trace(const Team& team, const Samples<double>& samples, Activation activation, double c,
                                 MatrixView<double> E, MatrixView<double> W, Matrix<double>& gE, Matrix<double>& gW) {
  const Index n = samples.n(), h = E.cols();
  const auto d_out = static_cast<double>(W.cols());
  const Eigen::VectorXd norms = std::visit([](const auto& inputs) { return squared_row_norms(inputs); }, samples.X);
  const Eigen::VectorXd squares = W.topRows(h).rowwise().squaredNorm();
  Matrix<double> H(n, h), S(n, h), gZ(n, h);
  for_blocks(team, n, [&](Index begin, Index length) {
    samples.multiply_rows(E, begin, length, H);
    double* const z = &H(begin, 0);
    const auto count = static_cast<std::size_t>(length * h);
    second_derivatives(activation, z, &gZ(begin, 0), count);
    activate(activation, z, z, &S(begin, 0), count);
    for (Index i = begin; i < begin + length; ++i)
      gZ.row(i).array() = 4 * c * S.row(i).array() *
                          (d_out * H.row(i).array() + norms[i] * squares.transpose().array() * gZ.row(i).array());
  });
  samples.multiply_transposed(team, gZ, gE);
  gW.setZero(W.rows(), W.cols());
  Eigen::VectorXd slopes(h);  // Σ_i |x_i|² S_iu²
  for_blocks(team, h, [&](Index begin, Index length) {
    slopes.segment(begin, length).noalias() = S.middleCols(begin, length).array().square().matrix().transpose() * norms;
    gW.middleRows(begin, length) = 4 * c * slopes.segment(begin, length).asDiagonal() * W.middleRows(begin, length);
  });
  const double biases = W.rows() > h ? static_cast<double>(n) : 0.0;
  return 2 * c * (d_out * (H.squaredNorm() + biases) + slopes.dot(squares));
}

}  // namespace zeroloss
