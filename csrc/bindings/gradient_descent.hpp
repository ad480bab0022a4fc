// Binds gradient descent. Each precision has its own source file, because its kernels take the longest to compile.
#pragma once

#include "../core/descent/gradient_descent.hpp"

#include <memory>
#include <optional>
#include <vector>

#include "descent_chunk.hpp"

namespace zeroloss {

/// The caller's arrays for the state of a descent. They are checked once, here. The kernel then works in place.
template <class T>
class BoundState {
 public:
  using Layer = std::optional<Array<T>>;

  BoundState(const Descent<T>& descent, Array<T> E, Array<T> W, Array<Index> steps, Layer velocity_E, Layer velocity_W,
             Layer compensation_E, Layer compensation_W, Layer squares_E, Layer squares_W,
             std::optional<Array<double>> reference_norm)
      : d_in_(descent.d_in()), h_(descent.h()), d_out_(descent.d_out()), W_rows_(h_ + descent.biases().outputs) {
    const Optimizer& optimizer = descent.optimizer();
    state_.theta = {bind("E", std::move(E), d_in_, h_), bind("W", std::move(W), W_rows_, d_out_)};
    state_.steps = bind("steps", std::move(steps));
    state_.velocity = bind("velocity", optimizer.has_velocity(), std::move(velocity_E), std::move(velocity_W));
    state_.compensation =
        bind("compensation", optimizer.compensated, std::move(compensation_E), std::move(compensation_W));
    state_.squares = bind("squares", optimizer.has_squares(), std::move(squares_E), std::move(squares_W));
    const bool has_norm_control = descent.control().kind != NormControl::Kind::none;
    state_.reference_norm = bind_if(has_norm_control, "reference_norm", std::move(reference_norm));
  }

  /// Returns the state, after a check that the arrays fit this kernel. They may have been bound for another one.
  const DescentState<T>& state_for(const Descent<T>& descent) const {
    const Optimizer& optimizer = descent.optimizer();
    if (descent.d_in() != d_in_ || descent.h() != h_ || descent.d_out() != d_out_ ||
        descent.h() + descent.biases().outputs != W_rows_ ||
        optimizer.has_velocity() != (state_.velocity.E != nullptr) ||
        optimizer.compensated != (state_.compensation.E != nullptr) ||
        optimizer.has_squares() != (state_.squares.E != nullptr) ||
        (descent.control().kind != NormControl::Kind::none) != (state_.reference_norm != nullptr))
      throw std::invalid_argument("state: expected arrays that this descent has bound, got those of another one");
    check_at_least("steps", *state_.steps, 0);
    return state_;
  }

 private:
  template <class U>
  U* bind(const std::string& name, Array<U> array, Index rows, Index cols) {
    arrays_.push_back(array);
    return update(name.c_str(), array, rows, cols);
  }
  /// One number.
  template <class U>
  U* bind(const std::string& name, Array<U> array) {
    if (array.size() != 1) throw std::invalid_argument(name + ": expected one number, got shape " + shape_text(array));
    arrays_.push_back(array);
    return array.mutable_data();
  }
  Layers<T> bind(const std::string& name, bool in_use, Layer E, Layer W) {
    return {bind_if(in_use, name + "_E", std::move(E), d_in_, h_),
            bind_if(in_use, name + "_W", std::move(W), W_rows_, d_out_)};
  }
  /// Returns null if the array is not in use. Checks that it is given exactly if it is in use.
  template <class U, class... Shape>
  U* bind_if(bool in_use, const std::string& name, std::optional<Array<U>> array, Shape... shape) {
    if (in_use != array.has_value())
      throw std::invalid_argument(name + ": expected " + (in_use ? "an array, got None" : "None, got an array"));
    return array ? bind(name, *std::move(array), shape...) : nullptr;
  }

  Index d_in_, h_, d_out_, W_rows_;
  DescentState<T> state_;
  std::vector<py::object> arrays_;  // references that keep the arrays alive
};

/// Binds Descent<T> and its state as classes whose names end in `bits`.
template <class T>
void bind_descent(py::module_& m, const std::string& bits) {
  using Set = Samples<T>;
  using TypedDescent = Descent<T>;
  using State = BoundState<T>;
  using Layer = typename State::Layer;
  const py::class_<State> state_class(m, ("DescentState" + bits).c_str(), py::module_local());
  py::class_<TypedDescent>(m, ("Descent" + bits).c_str(), py::module_local())
      .def(py::init([](const Set& samples, const Set& test, Activation activation, Loss loss,
                       const Optimizer& optimizer, Index hidden, int threads, std::optional<NormControl> control,
                       std::optional<Sampling> sampling, bool output_biases) {
             check_not_empty(samples);
             check_same_sizes(samples, test);
             check_at_least("hidden", hidden, 1);
             if (sampling && sampling->batch_size > samples.n())
               throw std::invalid_argument("batch_size: expected at most " + std::to_string(samples.n()));
             return std::make_unique<TypedDescent>(samples, test, activation, loss, optimizer,
                                                   control.value_or(NormControl()), hidden, output_biases,
                                                   Team(threads), sampling.value_or(Sampling()));
           }),
           py::arg("samples"), py::arg("test"), py::arg("activation"), py::arg("loss"), py::arg("optimizer"),
           py::arg("hidden"), py::arg("threads"), py::arg("control") = py::none(), py::arg("sampling") = py::none(),
           py::arg("output_biases") = false)
      .def(
          "bind",
          [](const TypedDescent& self, Array<T> E, Array<T> W, Array<Index> steps, Layer velocity_E, Layer velocity_W,
             Layer compensation_E, Layer compensation_W, Layer squares_E, Layer squares_W,
             std::optional<Array<double>> reference_norm) {
            return State(self, std::move(E), std::move(W), std::move(steps), std::move(velocity_E),
                         std::move(velocity_W), std::move(compensation_E), std::move(compensation_W),
                         std::move(squares_E), std::move(squares_W), std::move(reference_norm));
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::kw_only(), py::arg("steps").noconvert(),
          py::arg("velocity_E").noconvert() = py::none(), py::arg("velocity_W").noconvert() = py::none(),
          py::arg("compensation_E").noconvert() = py::none(), py::arg("compensation_W").noconvert() = py::none(),
          py::arg("squares_E").noconvert() = py::none(), py::arg("squares_W").noconvert() = py::none(),
          py::arg("reference_norm").noconvert() = py::none())
      .def(
          "advance",
          [](TypedDescent& self, const State& state, const DescentChunk& chunk) {
            const DescentState<T>& arrays = state.state_for(self);
            DescentAnswer answer{};
            double* losses = nullptr;
            Record* records = nullptr;
            if (chunk.losses) losses = answer.losses.emplace(chunk.steps).mutable_data();
            if (const auto count = static_cast<Index>(chunk.record_at.size()); count > 0)
              records = answer.records.emplace(count).mutable_data();
            {
              py::gil_scoped_release release;
              answer.finite = self.advance(arrays, chunk, losses, records);
            }
            return answer;
          },
          py::arg("state"), py::arg("chunk"))
      .def(
          "record",
          [](TypedDescent& self, const State& state) {
            const DescentState<T>& arrays = state.state_for(self);
            Array<Record> record(1);
            Record* const output = record.mutable_data();
            py::gil_scoped_release release;
            *output = self.record(arrays.theta);
            return record;
          },
          py::arg("state"));
}

}  // namespace zeroloss
