// The curvature of the loss: products of its Hessian, and of the Gauss–Newton matrix, with directions.
// With Z = X E, H = σ(Z), S = σ'(Z), S₂ = σ''(Z), F = H W and G = ∂loss/∂F, a direction v = (V, U) gives
//   dZ = X V,  dH = S ⊙ dZ,  dF = dH W + H U = J v,  dG = A dF,
// where A are the second derivatives of the loss with respect to F. The product with the Hessian is
//   E: Xᵀ[(dG Wᵀ + G Uᵀ) ⊙ S + (G Wᵀ) ⊙ S₂ ⊙ dZ],   W: Hᵀ dG + dHᵀ G.
// The Gauss–Newton matrix Jᵀ A J has the same product without the terms that contain G, and the remainder has these
// terms only.
// Shapes: X n × d_in, E d_in × h, W h × d_out, F and G n × d_out, J n·d_out × d with d = d_in·h + h·d_out.
// With biases of the outputs, W has a further row for a unit that is always 1.
// Python entry: python/zeroloss/curvature/kernel.py. Test: tests/test_curvature.py.
#pragma once

#include "../math/lanczos.hpp"
#include "output_curvature.hpp"

namespace zeroloss {

/// The Hessian is the sum of the Gauss–Newton matrix and of the remainder.
enum class CurvaturePart { hessian, gauss_newton, remainder };

/// Computes |x_i|² for each row of X. Entries of a row with the same column are added first.
inline Eigen::VectorXd squared_row_norms(const SparseInputs<double>& X) {
  Eigen::VectorXd norms = Eigen::VectorXd::Zero(X.n()), row = Eigen::VectorXd::Zero(X.d_in);
  for (Index i = 0; i < X.n(); ++i) {
    X.for_each(i, i + 1, [&](Index, Index j, double value) { row[j] += value; });
    X.for_each(i, i + 1, [&](Index, Index j, double) {
      norms[i] += row[j] * row[j];
      row[j] = 0;
    });
  }
  return norms;
}

inline Eigen::VectorXd squared_row_norms(const DenseInputs<double>& X) { return X.X.rowwise().squaredNorm(); }

/// The curvature at the point of the last `move`, for any number of directions. A vector of d entries has E row by row,
/// and then W row by row.
class Curvature {
 public:
  using Vector = Eigen::Ref<Eigen::VectorXd>;
  using ConstVector = Eigen::Ref<const Eigen::VectorXd>;

  Curvature(const Samples<double>& samples, Activation activation, Loss loss, Team team = Team())
      : samples_(samples), activation_(activation), loss_(loss), team_(team), output_(samples.Y, loss) {}

  /// Moves to (E: d_in × h, W: h × d_out): computes H, S, G and, unless σ'' = 0, (G Wᵀ) ⊙ S₂.
  void move(MatrixView<double> E, MatrixView<double> W) {
    const Index n = samples_.n(), h = E.cols();
    const bool curved = !is_piecewise_linear(activation_.kind);
    W_ = W.topRows(h);
    has_output_biases_ = W.rows() > h;
    for (Matrix<double>* matrix : {&H_, &S_, &dZ_, &gZ_}) matrix->resize(n, h);
    unit_curvature_.resize(curved ? n : 0, h);
    G_.resize(n, W.cols());
    dG_.resize(n, W.cols());
    for_blocks(team_, n, [&](Index begin, Index length) {
      samples_.multiply_rows(E, begin, length, H_);
      const auto count = static_cast<std::size_t>(length * h);
      double* const z = &H_(begin, 0);
      if (curved) second_derivatives(activation_, z, &unit_curvature_(begin, 0), count);
      activate(activation_, z, z, &S_(begin, 0), count);
      G_.middleRows(begin, length).noalias() = H_.middleRows(begin, length) * W_;
      if (has_output_biases_) G_.middleRows(begin, length).rowwise() += W.row(h);
    });
    output_.move(G_);
    loss_of_outputs(samples_.Y, loss_, G_);
    if (!curved) return;
    for_blocks(team_, n, [&](Index begin, Index length) {
      multiply_by_W_transposed(G_, begin, length);
      unit_curvature_.middleRows(begin, length).array() *= gZ_.middleRows(begin, length).array();
    });
  }

  /// product = (part + weight_decay I) v. They may be the same vector.  v, product: d
  void multiply(CurvaturePart part, double weight_decay, ConstVector v, Vector product) {
    const bool with_outputs = part != CurvaturePart::remainder, with_gradient = part != CurvaturePart::gauss_newton;
    const auto V = first_layer(v), U = second_layer(v);
    for_blocks(team_, samples_.n(), [&](Index begin, Index length) {
      auto dZ = dZ_.middleRows(begin, length), gZ = gZ_.middleRows(begin, length);
      const auto S = S_.middleRows(begin, length);
      if (with_outputs) {
        multiply_jacobian_rows(V, U, begin, length, dG_);
        output_.multiply_rows(begin, length, dG_);
        multiply_by_W_transposed(dG_, begin, length);
      } else {
        samples_.multiply_rows(V, begin, length, dZ_);
        gZ.setZero();
      }
      if (with_gradient) gZ.noalias() += G_.middleRows(begin, length) * U.topRows(W_.rows()).transpose();
      gZ.array() *= S.array();
      if (with_gradient && unit_curvature_.rows() > 0)
        gZ.array() += unit_curvature_.middleRows(begin, length).array() * dZ.array();
      if (with_gradient) dZ.array() *= S.array();  // it holds dH from here on
    });
    collect(with_outputs ? &dG_ : nullptr, with_gradient);
    first_layer(product) = gE_ + weight_decay * V;
    second_layer(product) = gW_ + weight_decay * U;
  }

  /// dF = J v.  v: d, dF: n × d_out
  void multiply_jacobian(ConstVector v, MatrixMap<double> dF) {
    const auto V = first_layer(v), U = second_layer(v);
    for_blocks(team_, samples_.n(),
               [&](Index begin, Index length) { multiply_jacobian_rows(V, U, begin, length, dF); });
  }

  /// v = Jᵀ R.  R: n × d_out, v: d
  void multiply_jacobian_transposed(const Matrix<double>& R, Vector v) {
    for_blocks(team_, samples_.n(), [&](Index begin, Index length) {
      multiply_by_W_transposed(R, begin, length);
      gZ_.middleRows(begin, length).array() *= S_.middleRows(begin, length).array();
    });
    collect(&R, false);
    first_layer(v) = gE_;
    second_layer(v) = gW_;
  }

  /// Computes the trace of a part, without weight decay. With squared error the trace of the Gauss–Newton matrix is
  /// 2c (d_out ‖H‖² + Σ_iu |x_i|² S_iu² |W_u|²). The trace of the remainder is Σ_iu |x_i|² (G Wᵀ ⊙ S₂)_iu.
  double trace(CurvaturePart part) const {
    const bool with_outputs = part != CurvaturePart::remainder;
    const bool with_gradient = part != CurvaturePart::gauss_newton && unit_curvature_.rows() > 0;
    const Eigen::VectorXd norms = std::visit([](const auto& inputs) { return squared_row_norms(inputs); }, samples_.X);
    double sum = 0;
    for (Index i = 0; i < samples_.n(); ++i) {
      double first = with_gradient ? unit_curvature_.row(i).sum() : 0;
      if (with_outputs) {
        for (Index u = 0; u < W_.rows(); ++u) first += S_(i, u) * S_(i, u) * output_.square(i, W_.row(u));
        sum += output_.trace(i) * (H_.row(i).squaredNorm() + has_output_biases_);
      }
      sum += norms[i] * first;
    }
    return sum;
  }

  /// Computes the largest eigenvalue of part + weight_decay I.
  LargestEigenvalue largest_eigenvalue(CurvaturePart part, double weight_decay, double accuracy, Index max_iterations) {
    return zeroloss::largest_eigenvalue(size(), accuracy, max_iterations,
                                        [&](Eigen::VectorXd& v) { multiply(part, weight_decay, v, v); });
  }

  const Samples<double>& samples() const { return samples_; }
  Index size() const { return samples_.d_in() * W_.rows() + samples_.d_out() * rows_of_second_layer(); }  ///< d

 private:
  Index rows_of_second_layer() const { return W_.rows() + has_output_biases_; }
  ConstMatrixMap<double> first_layer(const ConstVector& v) const { return {v.data(), samples_.d_in(), W_.rows()}; }
  ConstMatrixMap<double> second_layer(const ConstVector& v) const {
    return {v.data() + samples_.d_in() * W_.rows(), rows_of_second_layer(), W_.cols()};
  }
  MatrixMap<double> first_layer(Vector& v) const { return {v.data(), samples_.d_in(), W_.rows()}; }
  MatrixMap<double> second_layer(Vector& v) const {
    return {v.data() + samples_.d_in() * W_.rows(), rows_of_second_layer(), W_.cols()};
  }

  /// Computes rows of dZ_ = X V and of dF = (S ⊙ dZ) W + H U.
  template <class Outputs>
  void multiply_jacobian_rows(const ConstMatrixMap<double>& V, const ConstMatrixMap<double>& U, Index begin,
                              Index length, Outputs& dF) {
    samples_.multiply_rows(V, begin, length, dZ_);
    auto dH = gZ_.middleRows(begin, length);
    dH = S_.middleRows(begin, length).cwiseProduct(dZ_.middleRows(begin, length));
    dF.middleRows(begin, length).noalias() = dH * W_;
    const Index h = W_.rows();
    dF.middleRows(begin, length).noalias() += H_.middleRows(begin, length) * U.topRows(h);
    if (has_output_biases_) dF.middleRows(begin, length).rowwise() += U.row(h);
  }

  /// Computes rows of gZ_ = R Wᵀ.
  void multiply_by_W_transposed(const Matrix<double>& R, Index begin, Index length) {
    gZ_.middleRows(begin, length).noalias() = R.middleRows(begin, length) * W_.transpose();
  }

  /// Computes gE_ = Xᵀ gZ_ and gW_ = Hᵀ R + dHᵀ G, whose terms are 0 if R is null or `with_gradient` is false.
  void collect(const Matrix<double>* R, bool with_gradient) {
    samples_.multiply_transposed(team_, gZ_, gE_);
    gW_.resize(rows_of_second_layer(), W_.cols());
    if (has_output_biases_) gW_.row(W_.rows()).setZero();
    if (has_output_biases_ && R) gW_.row(W_.rows()) = R->colwise().sum();
    for_blocks(team_, W_.rows(), [&](Index begin, Index length) {
      auto gW = gW_.middleRows(begin, length);
      if (R)
        gW.noalias() = H_.middleCols(begin, length).transpose() * *R;
      else
        gW.setZero();
      if (with_gradient) gW.noalias() += dZ_.middleCols(begin, length).transpose() * G_;
    });
  }

  const Samples<double>& samples_;
  Activation activation_;
  Loss loss_;
  Team team_;
  OutputCurvature output_;
  bool has_output_biases_ = false;
  Matrix<double> H_, S_, W_, G_;
  Matrix<double> unit_curvature_;  // (G Wᵀ) ⊙ S₂; it has no rows if σ'' = 0
  Matrix<double> dZ_, gZ_, dG_;
  Matrix<double> gE_, gW_;  // the layers of a product
};

}  // namespace zeroloss
