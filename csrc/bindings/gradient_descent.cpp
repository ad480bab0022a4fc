// Gradient descent.
#include "../core/gradient_descent.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "bindings.hpp"

namespace zeroloss {
namespace {

/// What belongs to the two layers: one array for E, one for W.
template <class T>
using Pair = std::pair<Array<T>, Array<T>>;

template <class T>
Layers<T> checked(const Descent<T>& descent, const std::string& name, Pair<T>& pair) {
  return {update((name + "[0]").c_str(), pair.first, descent.d_in(), descent.h()),
          update((name + "[1]").c_str(), pair.second, descent.h(), descent.d_out())};
}

template <class T>
void bind(py::module_& m, const std::string& bits) {
  using Set = Samples<T>;
  using Descending = Descent<T>;
  py::class_<Descending>(m, ("Descent" + bits).c_str(), py::module_local())
      .def(py::init([](const Set& samples, const Set& test, Activation activation, Loss loss,
                       const Optimizer& optimizer, Index hidden, int threads, std::optional<NormControl> control) {
             check_not_empty(samples);
             if (test.n() > 0 && (test.d_in() != samples.d_in() || test.d_out() != samples.d_out()))
               throw std::invalid_argument("test: expected the inputs and outputs of samples, got others");
             check_at_least("hidden", hidden, 1);
             return std::make_unique<Descending>(samples, test, activation, loss, optimizer,
                                                 control.value_or(NormControl()), hidden, Team(threads));
           }),
           py::arg("samples"), py::arg("test"), py::arg("activation"), py::arg("loss"), py::arg("optimizer"),
           py::arg("hidden"), py::arg("threads"), py::arg("control") = py::none())
      .def(
          "advance",
          [](Descending& self, Index steps, Pair<T> theta, std::optional<Pair<T>> velocity,
             std::optional<Pair<T>> compensation, std::optional<Pair<T>> squares,
             std::optional<Array<double>> reference_norm, Index taken, std::optional<Array<double>> rates,
             std::optional<Array<double>> losses, std::optional<Array<std::int64_t>> record_at,
             std::optional<Array<double>> records) {
            const auto layers = [&](const std::string& name, bool wanted, std::optional<Pair<T>>& pair) {
              if (wanted != pair.has_value())
                throw std::invalid_argument(name + ": expected " + (wanted ? "(E, W), got None" : "None, got arrays"));
              return wanted ? checked(self, name, *pair) : Layers<T>{};
            };
            const auto each_step = [&](const char* name, std::optional<Array<double>>& array) -> double* {
              if (!array) return nullptr;
              if (array->ndim() != 1 || array->size() != steps)
                throw std::invalid_argument(std::string(name) + ": expected shape (" + std::to_string(steps) +
                                            "), got " + shape_text(*array));
              return array->mutable_data();
            };
            check_at_least("steps", steps, 0);
            check_at_least("taken", taken, 0);
            if (const bool wanted = self.control().kind != NormControl::Kind::none;
                wanted != reference_norm.has_value())
              throw std::invalid_argument(std::string("reference_norm: expected ") +
                                          (wanted ? "an array, got None" : "None, got an array"));
            if (reference_norm && reference_norm->size() != 1)
              throw std::invalid_argument("reference_norm: expected one number, got shape " +
                                          shape_text(*reference_norm));
            const Optimizer& by = self.optimizer();
            const DescentState<T> state{checked(self, "theta", theta), layers("velocity", by.has_velocity(), velocity),
                                        layers("compensation", by.compensated, compensation),
                                        layers("squares", by.has_squares(), squares),
                                        reference_norm ? reference_norm->mutable_data() : nullptr};
            typename Descending::Wishes wishes{each_step("rates", rates), each_step("losses", losses), nullptr, 0,
                                               nullptr};
            if (record_at.has_value() != records.has_value())
              throw std::invalid_argument("record_at, records: expected both or none, got one");
            if (record_at) {
              const std::int64_t* at = record_at->data();
              const bool increasing = std::is_sorted(at, at + record_at->size(), std::less_equal<>());
              if (record_at->ndim() != 1 || !increasing || (record_at->size() > 0 && at[0] < 0))
                throw std::invalid_argument("record_at: expected increasing steps of at least 0");
              wishes.record_at = at;
              wishes.records = record_at->size();
              wishes.record = update("records", *records, record_at->size(), Descending::record_size);
            }
            py::gil_scoped_release release;
            return self.advance(state, taken, steps, wishes);
          },
          py::arg("steps"), py::arg("theta").noconvert(), py::kw_only(), py::arg("velocity").noconvert() = py::none(),
          py::arg("compensation").noconvert() = py::none(), py::arg("squares").noconvert() = py::none(),
          py::arg("reference_norm").noconvert() = py::none(), py::arg("taken") = 0,
          py::arg("rates").noconvert() = py::none(), py::arg("losses").noconvert() = py::none(),
          py::arg("record_at").noconvert() = py::none(), py::arg("records").noconvert() = py::none())
      .def(
          "record",
          [](Descending& self, Pair<T> theta) {
            const Layers<T> layers = checked(self, "theta", theta);
            Array<double> found(Descending::record_size);
            double* const to = found.mutable_data();
            py::gil_scoped_release release;
            self.record(layers, to);
            return found;
          },
          py::arg("theta").noconvert());
}

}  // namespace

void bind_gradient_descent(py::module_& m) {
  py::class_<Optimizer>(m, "Optimizer", py::module_local())
      .def(py::init([](const std::string& rule, double lr, double weight_decay_E, double weight_decay_W,
                       double momentum, double second_momentum, double epsilon, bool compensated) {
             if (rule != "sgd" && rule != "adamw")
               throw std::invalid_argument("rule: expected sgd or adamw, got " + rule);
             return Optimizer{rule == "sgd" ? Rule::sgd : Rule::adamw,
                              lr,
                              weight_decay_E,
                              weight_decay_W,
                              momentum,
                              second_momentum,
                              epsilon,
                              compensated};
           }),
           py::arg("rule"), py::arg("lr"), py::arg("weight_decay_E"), py::arg("weight_decay_W"), py::arg("momentum"),
           py::arg("second_momentum") = 0.0, py::arg("epsilon") = 0.0, py::arg("compensated") = false);
  py::class_<NormControl>(m, "NormControl", py::module_local())
      .def(py::init([](const std::string& kind, bool E, bool W, double ratio, Index step) {
             using enum NormControl::Kind;
             for (const auto& [name, value] : {std::pair{"hold", hold}, {"cap", cap}, {"rescale", rescale}})
               if (kind == name) return NormControl{value, E, W, ratio, step};
             throw std::invalid_argument("kind: expected hold, cap or rescale, got " + kind);
           }),
           py::arg("kind"), py::arg("E"), py::arg("W"), py::arg("ratio"), py::arg("step"));
  bind<float>(m, "32");
  bind<double>(m, "64");
}

}  // namespace zeroloss
