// A record: numbers that describe θ, with the same names in C++ and in NumPy.
#pragma once

#include <limits>

namespace zeroloss {

/// The numbers of a record for some samples; NaN if there are no samples.
struct Evaluation {
  double loss = std::numeric_limits<double>::quiet_NaN();
  double accuracy = loss;  ///< share of samples with the largest output at the largest target; of equals, the first
  double residual = loss;  ///< ‖H W − Y‖_F
};

// pybind11 finds the NumPy dtype of a struct by the name of its type, in one table for all modules of a process. The
// name contains the name of the module, so each instruction-set level has its own type.
inline namespace ZEROLOSS_MODULE {

/// A record, in the order of a history's columns. `residual` is computed on the training samples.
struct Record {
  double train_loss, test_loss;
  double train_accuracy, test_accuracy;
  double norm_E, norm_W;
  double residual;
  double norm_bias;  ///< of both layers; norm_E and norm_W do not include them
};

}  // namespace ZEROLOSS_MODULE

inline Record make_record(const Evaluation& train, const Evaluation& test, double norm_E, double norm_W,
                          double norm_bias) {
  return {train.loss, test.loss, train.accuracy, test.accuracy, norm_E, norm_W, train.residual, norm_bias};
}

}  // namespace zeroloss
