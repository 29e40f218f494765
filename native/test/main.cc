// Runs every test case, or those whose title holds the first argument.
#include <cstring>

#include "check.h"

int main(int argc, char** argv) {
  size_t ran = 0;
  for (const TestCase& test : testCases()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    std::printf("%s\n", test.name);
    std::fflush(stdout);
    test.body();
    ++ran;
  }
  std::printf("%zu passed\n", ran);
  return ran == 0 ? 2 : 0;
}
