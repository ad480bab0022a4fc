// What a record says of θ: numbers with names, the same in C++ and in NumPy.
#pragma once

#include <limits>

namespace zeroloss {

/// What a record says of one set of samples; NaN for a set without any.
struct Evaluation {
  double loss = std::numeric_limits<double>::quiet_NaN();
  double accuracy = loss;  ///< share of samples whose largest output is the target's; the first of equals counts
  double residual = loss;  ///< ‖H W − Y‖_F
};

// pybind11 knows NumPy's form of a struct by the name of its type, once for all modules of a process. With the name of
// the module in it, each instruction-set level has a type of its own.
inline namespace ZEROLOSS_MODULE {

/// θ on both sets of samples, in the order of a history's columns. The residual is that on the training samples.
struct Record {
  double train_loss, test_loss;
  double train_accuracy, test_accuracy;
  double norm_E, norm_W;
  double residual;
};

}  // namespace ZEROLOSS_MODULE

inline Record make_record(const Evaluation& train, const Evaluation& test, double norm_E, double norm_W) {
  return {train.loss, test.loss, train.accuracy, test.accuracy, norm_E, norm_W, train.residual};
}

}  // namespace zeroloss
