// A program run to its end, without a copy of the caller's page tables and without a wait on Node's thread.
#pragma once

#include <string>
#include <vector>

namespace starling {

struct ProgramResult {
  // Exit status, or 128 + the signal that ended it.
  int code = 0;
  std::string out, err;
  // Not empty: it could not be started, and the rest means nothing.
  std::string error;
};

// Runs the program at `args[0]` with no environment, stdin from /dev/null and no other descriptor but its output pipes;
// returns when it has ended and both pipes are closed. Of each stream the first 64 KiB are kept.
// posix_spawn suspends the calling thread alone, until execve: the rest of the process goes on.
ProgramResult RunProgram(const std::vector<std::string>& args);

}  // namespace starling
