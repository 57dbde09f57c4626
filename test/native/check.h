// The least of a test framework: rules with names, checks inside them, TAP on standard output.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace check {

struct State {
  int rules = 0;
  int failedRules = 0;
  int failedChecks = 0;  // in the rule that is running
};

inline State& state() {
  static State only;
  return only;
}

/// Called by CHECK. Only the first failures of a rule are printed: a random rule can fail a million times.
inline void failed(const char* file, int line, const std::string& what) {
  if (++state().failedChecks <= 5) std::printf("# %s:%d: %s\n", file, line, what.c_str());
}

/// Runs one rule and prints its TAP line.
template <typename Body>
void rule(const std::string& name, Body body) {
  State& now = state();
  now.failedChecks = 0;
  body();
  const bool passed = now.failedChecks == 0;
  if (!passed) now.failedRules++;
  std::printf("%s %d - %s\n", passed ? "ok" : "not ok", ++now.rules, name.c_str());
  std::fflush(stdout);
}

/// Prints the plan. @returns the exit code
inline int finish() {
  std::printf("1..%d\n", state().rules);
  return state().failedRules == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) check::failed(__FILE__, __LINE__, #condition); \
  } while (0)

/// CHECK with a text that says which of many cases it was.
#define CHECK_CASE(condition, text)                                                               \
  do {                                                                                            \
    if (!(condition)) check::failed(__FILE__, __LINE__, std::string(#condition) + ": " + (text)); \
  } while (0)
