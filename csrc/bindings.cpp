// Translates between Python and the structures of csrc/; holds no logic of its own.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <system_error>

#include "co_interaction/co_interaction.hpp"
#include "errors.hpp"
#include "keyword_index/keyword_index.hpp"
#include "keyword_index/window_scan.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace {

using mmsrarec::CoInteraction;
using mmsrarec::KeywordIndex;
using Int64Array = py::array_t<int64_t, py::array::c_style>;
using Int32Array = py::array_t<int32_t, py::array::c_style>;
using FloatArray = py::array_t<float, py::array::c_style>;
using BoolArray = py::array_t<bool, py::array::c_style>;
using FilterArray = std::variant<BoolArray, Int64Array>;

template <typename Number>
std::span<const Number> view(const py::array_t<Number, py::array::c_style>& array) {
    return {array.data(), static_cast<size_t>(array.size())};
}

template <typename Number>
std::span<Number> writable(py::array_t<Number, py::array::c_style>& array) {
    return {array.mutable_data(), static_cast<size_t>(array.size())};
}

mmsrarec::KeywordRows rows_of(const Int64Array& indptr, const Int32Array& keywords,
                              const FloatArray& weights) {
    return {view(indptr), view(keywords), view(weights)};
}

std::optional<mmsrarec::ItemFilter> filter_of(const std::optional<FilterArray>& array) {
    if (!array) return std::nullopt;
    return std::visit([](const auto& typed) -> mmsrarec::ItemFilter { return view(typed); }, *array);
}

// Lets Ctrl-C end native work that runs without the interpreter lock.
void check_signals() {
    const py::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void raise_as(const char* name, const char* message) {
    py::set_error(py::module_::import("mmsrarec.errors").attr(name), message);
}

void translate(std::exception_ptr error) {
    try {
        std::rethrow_exception(error);
    } catch (const mmsrarec::InputError& input) {
        raise_as("InputError", input.what());
    } catch (const mmsrarec::StoredFileError& stored) {
        raise_as("StoredFileError", stored.what());
    } catch (const std::system_error& system) {
        errno = system.code().value();
        PyErr_SetFromErrno(PyExc_OSError);
    }
}

py::tuple search(const KeywordIndex& index, const Int32Array& keywords, const FloatArray& weights, int64_t k,
                 const std::optional<FilterArray>& allow, const std::optional<FilterArray>& exclude) {
    std::vector<mmsrarec::Hit> hits;
    {
        const py::gil_scoped_release unlocked;
        hits = index.search(view(keywords), view(weights), k, {filter_of(allow), filter_of(exclude)});
    }
    Int64Array ids(static_cast<py::ssize_t>(hits.size()));
    FloatArray scores(static_cast<py::ssize_t>(hits.size()));
    for (size_t rank = 0; rank < hits.size(); ++rank) {
        ids.mutable_data()[rank] = hits[rank].id;
        scores.mutable_data()[rank] = hits[rank].score;
    }
    return py::make_tuple(ids, scores);
}

void search_batch(const KeywordIndex& index, const Int64Array& indptr, const Int32Array& keywords,
                  const FloatArray& weights, int64_t k, int64_t threads,
                  const std::optional<FilterArray>& allow, const std::optional<FilterArray>& exclude,
                  Int64Array& ids, FloatArray& scores) {
    const auto ids_out = writable(ids);
    const auto scores_out = writable(scores);
    const py::gil_scoped_release unlocked;
    index.search_batch(rows_of(indptr, keywords, weights), k, threads, {filter_of(allow), filter_of(exclude)},
                       ids_out, scores_out, check_signals);
}

py::dict stats(const KeywordIndex& index) {
    const mmsrarec::IndexStats now = index.stats();
    return py::dict("items"_a = now.items, "removed"_a = now.removed, "keywords"_a = now.keywords,
                    "postings"_a = now.postings, "segments"_a = now.segments, "nbytes"_a = now.nbytes,
                    "mapped"_a = now.mapped);
}

void bind_keyword_index(py::module_& module) {
    const auto exact = [](const char* name) { return py::arg(name).noconvert(); };
    const auto unlocked = py::call_guard<py::gil_scoped_release>();
    py::class_<KeywordIndex>(module, "KeywordIndex")
        .def_static(
            "from_arrays",
            [](const Int64Array& indptr, const Int32Array& keywords, const FloatArray& weights,
               std::optional<int64_t> n_keywords) {
                return KeywordIndex::from_arrays(rows_of(indptr, keywords, weights), n_keywords,
                                                 check_signals);
            },
            exact("indptr"), exact("keywords"), exact("weights"), "n_keywords"_a = py::none(), unlocked)
        .def_static(
            "open",
            [](const std::filesystem::path& path, bool mmap) {
                return KeywordIndex::open(path, mmap, check_signals);
            },
            "path"_a, "mmap"_a = true, unlocked)
        .def("search", &search, exact("keywords"), exact("weights"), "k"_a, exact("allow") = py::none(),
             exact("exclude") = py::none())
        .def("search_batch", &search_batch, exact("indptr"), exact("keywords"), exact("weights"), "k"_a,
             "threads"_a, exact("allow"), exact("exclude"), exact("ids"), exact("scores"))
        .def(
            "add",
            [](KeywordIndex& index, const Int64Array& indptr, const Int32Array& keywords,
               const FloatArray& weights, std::optional<int64_t> n_keywords) {
                return index.add(rows_of(indptr, keywords, weights), n_keywords, check_signals);
            },
            exact("indptr"), exact("keywords"), exact("weights"), "n_keywords"_a = py::none(), unlocked)
        .def(
            "remove",
            [](KeywordIndex& index, const Int64Array& ids) { return index.remove(view(ids), check_signals); },
            exact("ids"), unlocked)
        .def(
            "save",
            [](const KeywordIndex& index, const std::filesystem::path& path) {
                index.save(path, check_signals);
            },
            "path"_a, unlocked)
        .def("stats", &stats)
        .def("__len__", &KeywordIndex::size)
        .def_property_readonly("n_items", &KeywordIndex::n_items)
        .def_property_readonly("n_keywords", &KeywordIndex::n_keywords)
        .def_property_readonly("nbytes", &KeywordIndex::nbytes);
}

py::tuple evidence(const CoInteraction& paths, const Int32Array& history, const Int32Array& candidates,
                   int64_t max_paths, int64_t exclude_user) {
    const std::array<py::ssize_t, 2> shape = {candidates.size(), max_paths};
    Int32Array counts(candidates.size()), users(shape), items(shape);
    FloatArray strengths(shape);
    const mmsrarec::Evidence out{writable(counts), writable(users), writable(items), writable(strengths)};
    {
        const py::gil_scoped_release unlocked;
        paths.evidence(view(history), view(candidates), max_paths, exclude_user, out);
    }
    return py::make_tuple(counts, users, items, strengths);
}

void bind_co_interaction(py::module_& module) {
    const auto exact = [](const char* name) { return py::arg(name).noconvert(); };
    const auto unlocked = py::call_guard<py::gil_scoped_release>();
    py::class_<CoInteraction>(module, "CoInteraction")
        .def_static(
            "from_arrays",
            [](const Int64Array& indptr, const Int32Array& items, int64_t n_items, int64_t cap) {
                return CoInteraction::from_arrays(view(indptr), view(items), n_items, cap, check_signals);
            },
            exact("indptr"), exact("items"), "n_items"_a, "cap"_a, unlocked)
        .def("evidence", &evidence, exact("history"), exact("candidates"), "max_paths"_a, "exclude_user"_a)
        .def_property_readonly("n_users", &CoInteraction::n_users)
        .def_property_readonly("n_items", &CoInteraction::n_items)
        .def_property_readonly("cap", &CoInteraction::cap)
        .def_property_readonly("nbytes", &CoInteraction::nbytes);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "Compiled structures of mmsrarec.";
    py::register_local_exception_translator(translate);
    bind_co_interaction(module);
    bind_keyword_index(module);
    module.def("vector_instructions", &mmsrarec::vector_instructions);
}
