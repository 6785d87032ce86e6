// A command line's words: options of a table, then the rest. Long options take "--name value" and "--name=value", short
// ones "-n value"; options end at the first other word when `stops_at_word`, or at "--".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../../base/result.h"

namespace starling::run {

struct Option {
  // "bundle"
  const char* name;
  // 'b'; 0: none
  char letter;
  bool takes_value;
};

struct Parsed {
  // By name; each value in the order given ("" for options without one).
  std::map<std::string, std::vector<std::string>> values;
  std::vector<std::string> words;

  bool Has(const std::string& name) const { return values.contains(name); }
  // The last value, or `fallback`.
  std::string Value(const std::string& name, const std::string& fallback = "") const;
  std::vector<std::string> All(const std::string& name) const;
};

// Reads `arguments` from `at`, which is left behind what was read.
Result<Parsed> ParseOptions(const std::vector<std::string>& arguments, size_t& at, const std::vector<Option>& table, bool stops_at_word);

}  // namespace starling::run
