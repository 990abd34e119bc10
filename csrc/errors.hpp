// The errors that the compiled structures raise on purpose; bindings.cpp turns each into its Python namesake.
#pragma once

#include <stdexcept>
#include <string>

namespace mmsrarec {

// An argument is not usable; the message names it, the value got, and what is allowed.
class InputError : public std::invalid_argument {
  public:
    using std::invalid_argument::invalid_argument;
};

// A stored file is missing, damaged, foreign, or written by a newer format; the message names the file.
class StoredFileError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace mmsrarec
