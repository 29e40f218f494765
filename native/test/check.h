// The smallest test harness that does: a list of cases, and a check that names its place.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

struct TestCase {
  const char* name;
  void (*body)();
};

inline std::vector<TestCase>& testCases() {
  static std::vector<TestCase> cases;
  return cases;
}

struct Register {
  Register(const char* name, void (*body)()) { testCases().push_back({name, body}); }
};

#define TEST(identifier, title)                             \
  static void identifier();                                 \
  static Register identifier##Registered(title, identifier); \
  static void identifier()

#define CHECK(condition)                                                               \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);   \
      std::exit(1);                                                                    \
    }                                                                                  \
  } while (false)

#define CHECK_EQUAL(left, right)                                                                       \
  do {                                                                                                 \
    auto leftValue = (left);                                                                           \
    decltype(leftValue) rightValue = static_cast<decltype(leftValue)>(right);                          \
    if (!(leftValue == rightValue)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #left,                 \
                   static_cast<long long>(leftValue), static_cast<long long>(rightValue));             \
      std::exit(1);                                                                                    \
    }                                                                                                  \
  } while (false)
