// The few lines of a test framework that these tests need: cases that register themselves, and checks that
// throw.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Case {
    std::string name;
    std::function<void()> body;
};

inline std::vector<Case>& all_cases() {
    static std::vector<Case> cases;
    return cases;
}

struct Register {
    Register(const char* name, std::function<void()> body) { all_cases().push_back({name, std::move(body)}); }
};

#define TEST(name)                                      \
    static void name();                                 \
    static const Register register_##name(#name, name); \
    static void name()

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            throw std::runtime_error(std::string(__FILE__) + ":" + std::to_string(__LINE__) + \
                                     ": not true: " #condition);                              \
        }                                                                                     \
    } while (false)

#define CHECK_EQUAL(got, wanted)                                                                \
    do {                                                                                        \
        const auto got_value = (got);                                                           \
        const auto wanted_value = (wanted);                                                     \
        if (!(got_value == wanted_value)) {                                                     \
            std::ostringstream text;                                                            \
            text << __FILE__ << ":" << __LINE__ << ": " #got " is " << got_value << ", wanted " \
                 << wanted_value;                                                               \
            throw std::runtime_error(text.str());                                               \
        }                                                                                       \
    } while (false)

// The message of the `Error` that `body` must throw.
template <typename Error>
std::string message_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    throw std::runtime_error("no error was thrown where one is due");
}
