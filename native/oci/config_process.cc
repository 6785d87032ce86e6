#include <sys/resource.h>

#include <algorithm>

#include "../runtime/capabilities.h"
#include "config.h"

namespace starling::oci {
namespace {

struct Named {
  std::string_view name;
  int64_t value;
};

constexpr Named kLimits[] = {
    {"RLIMIT_AS", RLIMIT_AS},           {"RLIMIT_CORE", RLIMIT_CORE},       {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},       {"RLIMIT_FSIZE", RLIMIT_FSIZE},     {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},   {"RLIMIT_NPROC", RLIMIT_NPROC},     {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},   {"RLIMIT_RTTIME", RLIMIT_RTTIME},   {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

// linux/sched.h
constexpr Named kPolicies[] = {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},      {"SCHED_BATCH", 3},
                               {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};
constexpr Named kSchedulerFlags[] = {
    {"SCHED_FLAG_RESET_ON_FORK", 1}, {"SCHED_FLAG_RECLAIM", 2},         {"SCHED_FLAG_DL_OVERRUN", 4},
    {"SCHED_FLAG_KEEP_POLICY", 8},   {"SCHED_FLAG_KEEP_PARAMS", 16},    {"SCHED_FLAG_UTIL_CLAMP_MIN", 32},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", 64}};
constexpr Named kIoClasses[] = {{"IOPRIO_CLASS_RT", 1}, {"IOPRIO_CLASS_BE", 2}, {"IOPRIO_CLASS_IDLE", 3}};

template <class Table>
int64_t Find(const Table& table, std::string_view name) {
  for (const Named& item : table) {
    if (item.name == name) return item.value;
  }
  return -1;
}

void ReadUser(const json::Reader& reader, Process& process) {
  json::Reader user = reader.Child("user");
  // 2^32 - 1 means "no change" to the kernel.
  process.uid = static_cast<uint32_t>(user.Uint("uid", 0, UINT32_MAX - 1));
  process.gid = static_cast<uint32_t>(user.Uint("gid", 0, UINT32_MAX - 1));
  if (user.Has("umask")) process.umask = static_cast<uint32_t>(user.Uint("umask", 0, 0777));
  for (uint64_t gid : user.Uints("additionalGids", UINT32_MAX - 1)) {
    process.additional_gids.push_back(static_cast<uint32_t>(gid));
  }
}

uint64_t ReadCapabilitySet(const json::Reader& reader, const char* key, std::vector<std::string>& warnings) {
  uint64_t set = 0;
  for (const std::string& name : reader.Strings(key)) {
    int number = CapabilityNumber(name);
    if (number >= 0) {
      set |= uint64_t{1} << number;
    } else {
      warnings.push_back("process.capabilities." + std::string(key) + ": `" + name + "` is not known here, ignored");
    }
  }
  return set;
}

void ReadRlimits(const json::Reader& reader, Process& process) {
  for (const json::Reader& item : reader.Objects("rlimits")) {
    std::string name = item.String("type");
    int64_t resource = Find(kLimits, name);
    if (resource < 0) item.Fault("type", "unknown limit `" + name + "`");
    Rlimit limit{static_cast<int>(resource), item.Uint("soft", 0), item.Uint("hard", 0)};
    if (!item.Has("soft") || !item.Has("hard")) item.Fault("soft", "must be set, and `hard` too");
    if (limit.soft > limit.hard) item.Fault("soft", "must not be above `hard`");
    bool twice = std::any_of(process.rlimits.begin(), process.rlimits.end(),
                             [&](const Rlimit& other) { return other.resource == limit.resource; });
    if (twice) item.Fault("type", "`" + name + "` is set twice");
    process.rlimits.push_back(limit);
  }
}

void ReadScheduling(const json::Reader& reader, Process& process) {
  if (reader.Has("scheduler")) {
    json::Reader item = reader.Child("scheduler");
    Scheduler scheduler;
    std::string policy = item.String("policy");
    int64_t number = Find(kPolicies, policy);
    if (number < 0) item.Fault("policy", "unknown policy `" + policy + "`");
    scheduler.policy = static_cast<uint32_t>(number);
    scheduler.nice = static_cast<int32_t>(item.Int("nice", 0, -20, 19));
    scheduler.priority = static_cast<uint32_t>(item.Int("priority", 0, 0, 99));
    for (const std::string& flag : item.Strings("flags")) {
      int64_t bit = Find(kSchedulerFlags, flag);
      if (bit < 0) item.Fault("flags", "unknown flag `" + flag + "`");
      scheduler.flags |= static_cast<uint64_t>(bit);
    }
    scheduler.runtime_ns = item.Uint("runtime", 0);
    scheduler.deadline_ns = item.Uint("deadline", 0);
    scheduler.period_ns = item.Uint("period", 0);
    process.scheduler = scheduler;
  }
  if (reader.Has("ioPriority")) {
    json::Reader item = reader.Child("ioPriority");
    std::string name = item.String("class");
    int64_t io_class = Find(kIoClasses, name);
    if (io_class < 0) item.Fault("class", "unknown class `" + name + "`");
    process.io_priority = static_cast<int>(io_class << 13 | item.Int("priority", 0, 0, 7));
  }
  json::Reader affinity = reader.Child("execCPUAffinity");
  process.cpus_initial = affinity.String("initial");
  process.cpus_final = affinity.String("final");
}

}  // namespace

Process ReadProcess(const json::Reader& reader, std::vector<std::string>& warnings) {
  Process process;
  process.terminal = reader.Bool("terminal", false);
  json::Reader size = reader.Child("consoleSize");
  process.console_rows = static_cast<uint16_t>(size.Uint("height", 0, UINT16_MAX));
  process.console_columns = static_cast<uint16_t>(size.Uint("width", 0, UINT16_MAX));
  ReadUser(reader, process);
  process.args = reader.Strings("args");
  process.env = reader.Strings("env");
  process.cwd = reader.String("cwd");
  if (!process.cwd.starts_with('/')) reader.Fault("cwd", "must be an absolute path, not `" + process.cwd + "`");
  if (process.args.empty()) reader.Fault("args", "must have at least the program's name");
  if (reader.Has("capabilities")) {
    json::Reader sets = reader.Child("capabilities");
    Capabilities capabilities;
    capabilities.bounding = ReadCapabilitySet(sets, "bounding", warnings);
    capabilities.effective = ReadCapabilitySet(sets, "effective", warnings);
    capabilities.permitted = ReadCapabilitySet(sets, "permitted", warnings);
    capabilities.inheritable = ReadCapabilitySet(sets, "inheritable", warnings);
    capabilities.ambient = ReadCapabilitySet(sets, "ambient", warnings);
    process.capabilities = capabilities;
  }
  ReadRlimits(reader, process);
  process.no_new_privileges = reader.Bool("noNewPrivileges", false);
  if (reader.Has("oomScoreAdj")) process.oom_score_adj = static_cast<int32_t>(reader.Int("oomScoreAdj", 0, -1000, 1000));
  process.apparmor_profile = reader.String("apparmorProfile");
  process.selinux_label = reader.String("selinuxLabel");
  ReadScheduling(reader, process);
  return process;
}

Result<Process> ParseProcessObject(std::string_view text, std::vector<std::string>* warnings) {
  STARLING_ASSIGN(value, json::Parse(text));
  std::string fault;
  Process process = ReadProcess(json::Reader(value, "process", &fault), *warnings);
  if (!fault.empty()) return Error{fault, EINVAL};
  return process;
}

}  // namespace starling::oci
