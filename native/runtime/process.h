// The last stretch before a container's program: user, privileges, file descriptors, execve. Used by the container's
// init and by processes that are started in it later.
#pragma once

#include <string>
#include <vector>

#include "../base/result.h"
#include "spec.h"
#include "user.h"

namespace starling {

// Descriptors that become 0, 1 and 2; -1: /dev/null of the container.
struct Stdio {
  int in = -1;
  int out = -1;
  int err = -1;
};

struct PreparedProcess {
  ProcessSpec spec;
  Identity identity;
  // Path for execve, found in PATH.
  std::string program;
  // This process stays as a small init, its child becomes the program (see init.h).
  bool under_init = false;
};

// Looks up user, groups and program. REQUIRES: the container's root is this process's root.
Result<PreparedProcess> PrepareProcess(const ProcessSpec& spec);

// Path for execve of args[0], looked up in PATH of `env` when it has no slash. REQUIRES: the container's root is ours.
Result<std::string> FindProgram(const ProcessSpec& spec);

// Opens a pseudo terminal of the container: the master, for whoever keeps the terminal, and the slave for the program. With rows
// and columns it has that size.
struct Terminal {
  UniqueFd master;
  UniqueFd slave;
};
Result<Terminal> OpenTerminal(unsigned short rows = 0, unsigned short columns = 0);

// Becomes the program. Returns only on failure; the message says what a user did wrong where it is his fault.
// Every descriptor above 2 is closed by the execve.
Error Become(const PreparedProcess& process, const Stdio& stdio);

// Opens `file` ("attr/exec") of this thread in procfs for writing, wherever a container may have mounted something else or
// put a link: what is written there must not be lost, nor reach another file (CVE-2019-16884, CVE-2025-52881).
Result<UniqueFd> OpenOwnProcFile(const std::string& file);

// Raises this process's hard limits to those wanted, where it may: inside a user namespace nobody can. Best effort; Become says
// what is missing.
void RaiseHardLimits(const std::vector<Rlimit>& rlimits);

// Default handlers, nothing blocked.
void ResetSignals();

// Goes to the working folder, and makes it when it is missing. Refuses one that lies outside the root (CVE-2024-21626).
Status EnterFolder(const std::string& cwd);

// SIGKILL to this process when its parent ends. Lost when the user id changes: call again then.
void DieWithParent();

}  // namespace starling
