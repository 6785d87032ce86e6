// The commands of starling-run.
#pragma once

#include <string>
#include <vector>

#include "../../oci/store.h"
#include "options.h"

namespace starling::run {

struct Command {
  const char* name;
  std::vector<Option> options;
  // Words behind the first one are the program's.
  bool stops_at_word;
  // The exit code.
  Result<int> (*run)(const oci::Store& store, const Parsed& parsed);
};

const Command* FindCommand(const std::string& name);

// Those that only show: state, list, ps, spec.
Result<int> ShowState(const oci::Store& store, const Parsed& parsed);
Result<int> ShowList(const oci::Store& store, const Parsed& parsed);
Result<int> ShowProcesses(const oci::Store& store, const Parsed& parsed);
Result<int> WriteSpec(const oci::Store& store, const Parsed& parsed);

// The word that names the container; the only one unless `more`.
Result<std::string> ContainerOf(const Parsed& parsed, bool more = false);

}  // namespace starling::run
