// Binds requests for steps of a descent and their answers, which are the same for both precisions.
#include "descent_chunk.hpp"

#include <algorithm>
#include <functional>

namespace zeroloss {
namespace {

/// Copies an optional vector argument; none becomes an empty vector.
template <class T>
std::vector<T> copy_vector(const char* name, const std::optional<Array<T>>& array) {
  if (!array) return {};
  if (array->ndim() != 1)
    throw std::invalid_argument(std::string(name) + ": expected a vector, got shape " + shape_text(*array));
  return {array->data(), array->data() + array->size()};
}

DescentChunk descent_chunk(Index steps, const std::optional<Array<double>>& rates, bool losses,
                           const std::optional<Array<Index>>& record_at) {
  check_at_least("steps", steps, 0);
  DescentChunk chunk{steps, copy_vector("rates", rates), losses, copy_vector("record_at", record_at)};
  if (rates && rates->size() != steps)
    throw std::invalid_argument("rates: expected shape (" + std::to_string(steps) + "), got " + shape_text(*rates));
  const std::vector<Index>& steps_of_records = chunk.record_at;
  const bool increasing = std::is_sorted(steps_of_records.begin(), steps_of_records.end(), std::less_equal<>());
  if (!increasing || (!steps_of_records.empty() && (steps_of_records.front() < 0 || steps_of_records.back() >= steps)))
    throw std::invalid_argument("record_at: expected increasing steps from 0 to " + std::to_string(steps - 1));
  return chunk;
}

}  // namespace

void bind_descent_chunk(py::module_& m) {
  py::class_<DescentChunk>(m, "DescentChunk", py::module_local())
      .def(py::init(&descent_chunk), py::arg("steps"), py::kw_only(), py::arg("rates").noconvert() = py::none(),
           py::arg("losses") = false, py::arg("record_at").noconvert() = py::none());
  py::class_<DescentAnswer>(m, "DescentAnswer", py::module_local())
      .def_readonly("finite", &DescentAnswer::finite)
      .def_readonly("losses", &DescentAnswer::losses)
      .def_readonly("records", &DescentAnswer::records);
}

}  // namespace zeroloss
