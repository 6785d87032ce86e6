// config.json of an OCI bundle (runtime-spec 1.0 – 1.2), parsed and checked. Members that the specification does not know
// are ignored; what this runtime cannot do is refused by name. Nothing here touches the system.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.h"
#include "../base/result.h"
#include "../runtime/spec.h"
#include "../sys/id_map.h"
#include "mount_options.h"
#include "resources.h"
#include "seccomp_config.h"

namespace starling::oci {

struct Mount {
  std::string destination;
  std::string type;
  std::string source;
  MountOptions options;
  IdMaps ids;
  // "mounts[3]", for messages.
  std::string name;
};

struct Capabilities {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  uint64_t ambient = 0;
};

// Arguments of sched_setattr(2).
struct Scheduler {
  uint32_t policy = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t flags = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

struct Process {
  bool terminal = false;
  uint16_t console_rows = 0;
  uint16_t console_columns = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd = "/";
  // Absent: all sets stay as this process's, without an ambient one.
  std::optional<Capabilities> capabilities;
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::optional<int32_t> oom_score_adj;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<Scheduler> scheduler;
  // ioprio_set(2): class << 13 | level.
  std::optional<int> io_priority;
  // CPU lists for exec: while the namespaces are entered, and for the program.
  std::string cpus_initial;
  std::string cpus_final;
};

struct Hook {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
  // Seconds; 0: none.
  int64_t timeout_s = 0;
};

struct Hooks {
  std::vector<Hook> prestart, create_runtime, create_container, start_container, poststart, poststop;
};

struct Namespace {
  // CLONE_NEW…
  uint64_t flag = 0;
  // Empty: a new one.
  std::string path;
};

struct Device {
  // 'c', 'b' or 'p'
  char type = 'c';
  std::string path;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t mode = 0666;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct TimeOffset {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};

struct Config {
  std::string oci_version;
  std::string root_path;
  bool root_readonly = false;
  std::vector<Mount> mounts;
  std::optional<Process> process;
  std::string hostname;
  std::string domainname;
  Hooks hooks;
  std::vector<std::pair<std::string, std::string>> annotations;
  std::vector<Namespace> namespaces;
  IdMaps ids;
  // By clock: "monotonic", "boottime".
  std::vector<std::pair<std::string, TimeOffset>> time_offsets;
  std::vector<Device> devices;
  std::string cgroups_path;
  Resources resources;
  std::optional<SeccompConfig> seccomp;
  // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, perhaps | MS_REC; 0: not set.
  unsigned long root_propagation = 0;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::vector<std::pair<std::string, std::string>> sysctls;
  std::string mount_label;
  std::optional<unsigned long> personality;
  // What could not be honoured and need not be: unknown capabilities.
  std::vector<std::string> warnings;

  // The namespace of `flag`; null when the runtime's own stays.
  const Namespace* FindNamespace(uint64_t flag) const;
  bool HasNew(uint64_t flag) const;
};

// `bundle`: absolute folder that relative paths are below. Errors name the member ("linux.devices[0].type: …").
Result<Config> ParseConfig(std::string_view text, const std::string& bundle);

// A process object by itself (`exec --process`).
Result<Process> ParseProcessObject(std::string_view text, std::vector<std::string>* warnings);

// Parts of ParseConfig, one a file.
Process ReadProcess(const json::Reader& reader, std::vector<std::string>& warnings);
void ReadLinux(const json::Reader& reader, Config& config);
std::vector<IdMapping> ReadMappings(const json::Reader& reader, std::string_view key);

}  // namespace starling::oci
