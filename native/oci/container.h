// Operations on containers (runtime-spec, "Operations"): create, start, kill, delete, exec.
//
//     create (parent)                           child, the container's init
//     clone3 ─────────────────────────────────► "U": waits for its id maps (new user namespace only)
//     write maps ────────── "M" ──────────────► cgroups, namespaces, root, mounts, devices, sysctls
//     ◄──────────────────── "H" ──────────────  runtime environment is there
//     prestart, createRuntime hooks ── "C" ───► createContainer hooks, pivot, masks, looks up the program
//     ◄──────────────────── "R" [terminal] ───  created; listens on start.sock
//     state.json, pid file
//     start: connect to start.sock ───────────► startContainer hooks, privileges, execve
//     ◄── end of file: it runs; "N" [listener]: seccomp's; "E…": it failed
//
// Any "E…" is the child's error. What ends before "R" leaves nothing behind.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "../base/result.h"
#include "../cgroup/cgroup.h"
#include "config.h"
#include "store.h"

namespace starling::oci {

struct CreateOptions {
  std::string bundle = ".";
  // Beside the bundle's own, with `bundle`; empty: config.json.
  std::string config_file;
  std::string pid_file;
  std::string console_socket;
  unsigned preserved_fds = 0;
  // The terminal stays with the caller: `run` in the foreground.
  bool keeps_terminal = false;
};

struct Created {
  Record record;
  Config config;
  // Only with `keeps_terminal`.
  UniqueFd terminal;
};

Result<Created> CreateContainer(const Store& store, const std::string& id, const CreateOptions& options);

// Runs the program. When that fails the container is deleted.
Status StartContainer(const Store& store, const std::string& id);

// `all`: every process in the container's cgroups.
Status KillContainer(const Store& store, const std::string& id, int signal, bool all);

// `force`: kills it first if it runs, and is content when there is none.
Status DeleteContainer(const Store& store, const std::string& id, bool force);

Status FreezeContainer(const Store& store, const std::string& id, bool frozen);

struct ExecOptions {
  // A process object in a file; empty: the container's own with the changes below.
  std::string process_file;
  std::vector<std::string> args;
  bool terminal = false;
  std::vector<std::string> env;
  std::string cwd;
  // "UID" or "UID:GID"
  std::string user;
  std::vector<uint32_t> additional_gids;
  std::vector<std::string> capabilities;
  bool no_new_privileges = false;
  std::string pid_file;
  std::string console_socket;
  unsigned preserved_fds = 0;
  bool keeps_terminal = false;
};

struct Executed {
  // A child of this process.
  pid_t pid = 0;
  UniqueFd terminal;
};

// errno of an exec that found its container but could not run the program in it.
constexpr int kExecFailed = 126 << 8;

Result<Executed> ExecInContainer(const Store& store, const std::string& id, const ExecOptions& options);

// Processes inside, in this PID namespace.
Result<std::vector<int>> ListProcesses(const Store& store, const std::string& id);

// For the files of this folder.

// Ends what is left, removes cgroups and files, runs the poststop hooks. Failures of hooks are printed only.
Status Destroy(const Store& store, const Record& record);
Status WritePidFile(const std::string& path, pid_t pid);

}  // namespace starling::oci
