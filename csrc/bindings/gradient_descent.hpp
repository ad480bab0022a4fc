// Gradient descent, bound in one source file for each precision: its kernels take the longest to compile.
#pragma once

#include "../core/gradient_descent.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "bindings.hpp"

namespace zeroloss {

/// The caller's arrays for the two layers: (E, W).
template <class T>
using LayerArrays = std::pair<Array<T>, Array<T>>;

template <class T>
Layers<T> checked(const Descent<T>& descent, const std::string& name, LayerArrays<T>& pair) {
  return {update((name + "[0]").c_str(), pair.first, descent.d_in(), descent.h()),
          update((name + "[1]").c_str(), pair.second, descent.h(), descent.d_out())};
}

/// Binds Descent<T> as a class whose name ends in `bits`.
template <class T>
void bind_descent(py::module_& m, const std::string& bits) {
  using Set = Samples<T>;
  using Descending = Descent<T>;
  py::class_<Descending>(m, ("Descent" + bits).c_str(), py::module_local())
      .def(py::init([](const Set& samples, const Set& test, Activation activation, Loss loss,
                       const Optimizer& optimizer, Index hidden, int threads, std::optional<NormControl> control) {
             check_not_empty(samples);
             check_same_sizes(samples, test);
             check_at_least("hidden", hidden, 1);
             return std::make_unique<Descending>(samples, test, activation, loss, optimizer,
                                                 control.value_or(NormControl()), hidden, Team(threads));
           }),
           py::arg("samples"), py::arg("test"), py::arg("activation"), py::arg("loss"), py::arg("optimizer"),
           py::arg("hidden"), py::arg("threads"), py::arg("control") = py::none())
      .def(
          "advance",
          [](Descending& self, Index steps, LayerArrays<T> theta, std::optional<LayerArrays<T>> velocity,
             std::optional<LayerArrays<T>> compensation, std::optional<LayerArrays<T>> squares,
             std::optional<Array<double>> reference_norm, Index taken, std::optional<Array<double>> rates,
             std::optional<Array<double>> losses, std::optional<Array<std::int64_t>> record_at,
             std::optional<Array<Record>> records) {
            const auto layers = [&](const std::string& name, bool wanted, std::optional<LayerArrays<T>>& pair) {
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
              if (records->ndim() != 1 || records->size() != record_at->size())
                throw std::invalid_argument("records: expected shape (" + std::to_string(record_at->size()) +
                                            "), got " + shape_text(*records));
              wishes.record = records->mutable_data();
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
          [](Descending& self, LayerArrays<T> theta) {
            const Layers<T> layers = checked(self, "theta", theta);
            Array<Record> found(1);
            Record* const to = found.mutable_data();
            py::gil_scoped_release release;
            *to = self.record(layers);
            return found;
          },
          py::arg("theta").noconvert());
}

}  // namespace zeroloss
