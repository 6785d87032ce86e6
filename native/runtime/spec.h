// What a container shall be: the spec file of a bundle, parsed and checked. The file is JSON, `"version": 1`; a newer
// version is refused, unknown members are ignored (a newer swarmd may drive an older shim).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"
#include "../cgroup/cgroup.h"
#include "../rootfs/rootfs.h"
#include "../sys/id_map.h"

namespace starling {

constexpr int64_t kSpecVersion = 1;

struct Rlimit {
  int resource = 0;
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct ProcessSpec {
  // argv[0] without a slash is looked up in PATH of `env`, inside the container.
  std::vector<std::string> args;
  // "NAME=value"
  std::vector<std::string> env;
  std::string cwd = "/";
  // "user", "user:group", each a name of the image's /etc/passwd and /etc/group or a number; empty: root.
  std::string user;
  // Further groups, names or numbers.
  std::vector<std::string> groups;
  // Bit n: CAP number n (linux/capability.h).
  uint64_t capabilities = 0;
  bool no_new_privileges = true;
  // False: no system call filter.
  bool seccomp = true;
  // The filter, a classic BPF program: `struct sock_filter`s as they lie in memory. Empty only without a filter.
  std::string seccomp_program;
  // Profile and label that the program gets with execve; empty: as the kernel has it. An error where the kernel lacks
  // the security module.
  std::string apparmor_profile;
  std::string selinux_label;
  std::vector<Rlimit> rlimits;
  bool tty = false;
  // Of the terminal when the program starts; 0: as the kernel makes it.
  unsigned short rows = 0;
  unsigned short columns = 0;
  // Of a container without a terminal: standard input is a pipe that stays open until an attached client ends it.
  bool open_stdin = false;
};

// Namespaces of the host that the container shares instead of having its own.
struct HostNamespaces {
  bool pid = false;
  bool ipc = false;
  bool network = false;
  bool uts = false;
  bool cgroup = false;
};

// A collector of the host or beyond that gets each line, too.
struct LogSinkSpec {
  enum class Kind { kNone, kSyslog, kJournald };
  enum class Transport { kUnix, kUdp, kTcp };
  Kind kind = Kind::kNone;
  // kSyslog: a socket's path, or an IP address and `port`.
  Transport transport = Transport::kUnix;
  std::string address = "/dev/log";
  int port = 514;
  // 0 … 23, RFC 5424 §6.2.1.
  int facility = 3;
  bool rfc5424 = false;
  std::string hostname;
  std::string tag;
  // kJournald: further fields, names in capitals.
  std::vector<std::pair<std::string, std::string>> fields;
};

struct LogSpec {
  // Empty: output is thrown away.
  std::string path;
  int64_t max_bytes = 10 << 20;
  int64_t max_files = 3;
  LogSinkSpec sink = {};
};

struct Spec {
  std::string id;
  std::string hostname;
  std::string domainname;
  ProcessSpec process;
  rootfs::Plan root;
  cgroup::Placement placement;
  cgroup::Limits limits;
  HostNamespaces host;
  // A network namespace to join; empty: a new one, with lo up.
  std::string netns_path;
  // A small init that forwards signals and reaps orphans runs as PID 1, the program as its child.
  bool init = false;
  int64_t oom_score_adj = 0;
  LogSpec log;
};

// Errors name the member and what it must be.
Result<Spec> ParseSpec(std::string_view text);

// The members of a process object (`process` of a spec, or of an exec request); `fallback` gives what is absent.
Result<ProcessSpec> ParseProcess(std::string_view text, const ProcessSpec& fallback);

}  // namespace starling
