// Translates between Python and the structures of csrc/; holds no logic of its own.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <string>
#include <system_error>

#include "co_interaction/co_interaction.hpp"
#include "errors.hpp"
#include "group_reward/group_reward.hpp"
#include "keyword_index/keyword_index.hpp"
#include "keyword_index/window_scan.hpp"
#include "sequence_nll/token_nll.hpp"

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

mmsrarec::Float float_named(const std::string& name) {
    if (name == "float32") return mmsrarec::Float::kFloat32;
    if (name == "bfloat16") return mmsrarec::Float::kBfloat16;
    if (name == "float16") return mmsrarec::Float::kFloat16;
    throw mmsrarec::InputError("dtype must be float32, bfloat16 or float16, got " + name + ".");
}

// A matrix of any strides; 16-bit floats come as int16, as NumPy has no bfloat16.
mmsrarec::MatrixView matrix_of(const py::array& array, mmsrarec::Float type, const char* name) {
    const bool wide = type == mmsrarec::Float::kFloat32;
    if (array.ndim() != 2 ||
        !(wide ? py::isinstance<py::array_t<float>>(array) : py::isinstance<py::array_t<int16_t>>(array))) {
        throw mmsrarec::InputError(std::string(name) + " must be a matrix of " +
                                   (wide ? "float32." : "int16."));
    }
    const py::ssize_t size = array.itemsize();
    return {array.data(),           type, array.shape(0), array.shape(1), array.strides(0) / size,
            array.strides(1) / size};
}

void token_nll(const py::array& hidden, const py::array& weight, const std::string& dtype,
               const Int64Array& targets, float softcap, float skip_below, int64_t threads, FloatArray& nll,
               FloatArray& log_sum, std::optional<FloatArray> gradient) {
    const mmsrarec::Float type = float_named(dtype);
    const mmsrarec::TokenNllInput input{matrix_of(hidden, type, "hidden"), matrix_of(weight, type, "weight"),
                                        targets.data(), softcap, skip_below};
    const int64_t tokens = input.hidden.rows, width = input.hidden.columns;
    if (input.weight.columns != width || targets.size() != tokens || nll.size() != tokens ||
        log_sum.size() != tokens || (gradient && gradient->size() != tokens * width)) {
        throw mmsrarec::InputError(
            "shapes of hidden, weight, targets, nll, log_sum and gradient must agree.");
    }
    const mmsrarec::TokenNllOutput output{nll.mutable_data(), log_sum.mutable_data(),
                                          gradient ? gradient->mutable_data() : nullptr};
    const py::gil_scoped_release unlocked;
    mmsrarec::token_nll(input, output, threads, check_signals);
}

mmsrarec::Reconstruction reconstruction_named(const std::string& name) {
    if (name == "perplexity") return mmsrarec::Reconstruction::kPerplexity;
    if (name == "nll") return mmsrarec::Reconstruction::kNll;
    if (name == "clipped") return mmsrarec::Reconstruction::kClipped;
    throw mmsrarec::InputError("reconstruction must be perplexity, nll or clipped, got " + name + ".");
}

void group_reward(const FloatArray& keyword_embedding, const FloatArray& text_embedding,
                  const FloatArray& nll, const FloatArray& length, int64_t group_size,
                  const std::array<float, 3>& weights, const std::string& reconstruction, float clip,
                  double epsilon, int64_t threads, FloatArray& rewards) {
    const int64_t rows = nll.size(), width = rows > 0 ? keyword_embedding.size() / rows : 0;
    if (keyword_embedding.size() != rows * width || text_embedding.size() != rows * width ||
        length.size() != rows || rewards.size() != 5 * rows || group_size < 1 || rows % group_size != 0) {
        throw mmsrarec::InputError("shapes of embeddings, nll, length and rewards must agree.");
    }
    const mmsrarec::GroupRewardInput input{keyword_embedding.data(),
                                           text_embedding.data(),
                                           nll.data(),
                                           length.data(),
                                           rows,
                                           width,
                                           group_size,
                                           weights,
                                           reconstruction_named(reconstruction),
                                           clip,
                                           epsilon};
    float* const first = rewards.mutable_data();
    const mmsrarec::GroupRewardOutput output{first, first + rows, first + 2 * rows, first + 3 * rows,
                                             first + 4 * rows};
    const py::gil_scoped_release unlocked;
    mmsrarec::group_reward(input, output, threads, check_signals);
}

void bind_kernels(py::module_& module) {
    const auto exact = [](const char* name) { return py::arg(name).noconvert(); };
    module.def("token_nll", &token_nll, exact("hidden"), exact("weight"), "dtype"_a, exact("targets"),
               "softcap"_a, "skip_below"_a, "threads"_a, exact("nll"), exact("log_sum"),
               exact("gradient") = py::none());
    module.def("group_reward", &group_reward, exact("keyword_embedding"), exact("text_embedding"),
               exact("nll"), exact("length"), "group_size"_a, "weights"_a, "reconstruction"_a, "clip"_a,
               "epsilon"_a, "threads"_a, exact("rewards"));
    module.def("token_nll_instructions", &mmsrarec::token_nll_instructions);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "Compiled structures of mmsrarec.";
    py::register_local_exception_translator(translate);
    bind_co_interaction(module);
    bind_keyword_index(module);
    bind_kernels(module);
    module.def("vector_instructions", &mmsrarec::vector_instructions);
}
