// Translates between Python and the structures of csrc/; holds no logic of its own.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_native, module) { module.doc() = "Compiled structures of mmsrarec."; }
