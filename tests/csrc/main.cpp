// Runs every registered test, or those whose name contains the first argument.
#include <cstdio>
#include <cstring>
#include <exception>

#include "check.hpp"

int main(int argc, char** argv) {
    int passed = 0, failed = 0;
    for (const Case& test : all_cases()) {
        if (argc > 1 && !std::strstr(test.name.c_str(), argv[1])) continue;
        try {
            test.body();
            ++passed;
        } catch (const std::exception& error) {
            ++failed;
            std::printf("FAILED %s: %s\n", test.name.c_str(), error.what());
        }
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
