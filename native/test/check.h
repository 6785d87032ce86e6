// A few lines of test harness: TEST(name) { CHECK(…); CHECK_EQ(a, b); }. Ends with "N passed, N failed".
#pragma once

#include <cstdio>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace starling::test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

struct Register {
  Register(const char* name, void (*run)()) { Cases().push_back({name, run}); }
};

template <class A, class B>
void CheckEqual(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream out;
  out << file << ":" << line << ": " << text << "\n    left:  " << a << "\n    right: " << b << "\n";
  fputs(out.str().c_str(), stderr);
  Failures()++;
}

}  // namespace starling::test

#define TEST(name)                                                         \
  static void test_##name();                                               \
  static const starling::test::Register register_##name(#name, test_##name); \
  static void test_##name()

#define CHECK_EQ(a, b) starling::test::CheckEqual((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK(condition) starling::test::CheckEqual(static_cast<bool>(condition), true, #condition, __FILE__, __LINE__)
