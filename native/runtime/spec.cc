#include "spec.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

#include "../base/json.h"
#include "capabilities.h"

namespace starling {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

struct NamedResource {
  std::string_view name;
  int resource;
};

constexpr NamedResource kResources[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},       {"cpu", RLIMIT_CPU},         {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},     {"locks", RLIMIT_LOCKS},     {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE},
    {"nice", RLIMIT_NICE},       {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},     {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},   {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

// -1 in the file is "unlimited".
uint64_t LimitValue(int64_t value) { return value < 0 ? RLIM_INFINITY : static_cast<uint64_t>(value); }

void ReadRlimits(const json::Reader& reader, std::vector<Rlimit>& out) {
  for (const json::Reader& item : reader.Objects("rlimits")) {
    std::string name = item.String("name");
    const NamedResource* found = nullptr;
    for (const NamedResource& known : kResources) {
      if (known.name == name) found = &known;
    }
    if (found == nullptr) {
      item.Fault("name", "unknown limit `" + name + "`");
      return;
    }
    uint64_t soft = LimitValue(item.Int("soft", -1, -1, kMost));
    uint64_t hard = LimitValue(item.Int("hard", -1, -1, kMost));
    out.push_back(Rlimit{found->resource, soft, hard});
  }
}

// Instructions in hexadecimal, 16 digits each: 4,096 are what the kernel takes (BPF_MAXINSNS).
void ReadProgram(const json::Reader& reader, std::string& out) {
  constexpr size_t kInstruction = 8;
  std::string text = reader.String("seccompProgram");
  out.clear();
  auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    int high = digit(text[i]);
    int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return reader.Fault("seccompProgram", "must be hexadecimal digits");
    out.push_back(static_cast<char>(high * 16 + low));
  }
  if (out.empty() || text.size() % (2 * kInstruction) != 0 || out.size() / kInstruction > 4096) {
    reader.Fault("seccompProgram", "must be 1 to 4096 instructions of 8 bytes");
  }
}

void ReadProcess(const json::Reader& reader, const ProcessSpec& fallback, ProcessSpec& out) {
  out = fallback;
  if (reader.Has("args")) out.args = reader.Strings("args");
  if (reader.Has("env")) out.env = reader.Strings("env");
  out.cwd = reader.String("cwd", fallback.cwd);
  out.user = reader.String("user", fallback.user);
  if (reader.Has("groups")) out.groups = reader.Strings("groups");
  if (reader.Has("capabilities")) {
    out.capabilities = 0;
    for (const std::string& name : reader.Strings("capabilities")) {
      int number = CapabilityNumber(name);
      if (number < 0) {
        reader.Fault("capabilities", "unknown capability `" + name + "`");
      } else {
        out.capabilities |= uint64_t{1} << number;
      }
    }
  }
  out.no_new_privileges = reader.Bool("noNewPrivileges", fallback.no_new_privileges);
  out.seccomp = reader.Bool("seccomp", fallback.seccomp);
  if (reader.Has("seccompProgram")) ReadProgram(reader, out.seccomp_program);
  out.apparmor_profile = reader.String("appArmorProfile", fallback.apparmor_profile);
  out.selinux_label = reader.String("selinuxLabel", fallback.selinux_label);
  out.tty = reader.Bool("tty", fallback.tty);
  out.rows = static_cast<unsigned short>(reader.Int("rows", fallback.rows, 0, 9999));
  out.columns = static_cast<unsigned short>(reader.Int("columns", fallback.columns, 0, 9999));
  out.open_stdin = reader.Bool("openStdin", fallback.open_stdin);
  if (reader.Has("rlimits")) {
    out.rlimits.clear();
    ReadRlimits(reader, out.rlimits);
  }
  if (out.args.empty() || out.args[0].empty()) reader.Fault("args", "must have at least the program's name");
  if (out.cwd.empty() || out.cwd[0] != '/') reader.Fault("cwd", "must be an absolute path");
  for (const std::string& variable : out.env) {
    if (variable.find('=') == std::string::npos || variable[0] == '=') {
      reader.Fault("env", "`" + variable + "` is not NAME=value");
    }
  }
  // Nobody goes without a filter because he forgot it.
  if (out.seccomp && out.seccomp_program.empty()) {
    reader.Fault("seccompProgram", "must be there unless seccomp is false");
  }
}

void ReadPropagation(const json::Reader& reader, rootfs::Propagation& out) {
  using rootfs::Propagation;
  static constexpr std::pair<std::string_view, Propagation> kWays[] = {
      {"private", Propagation::kPrivate},  {"rprivate", Propagation::kRecursivePrivate},
      {"shared", Propagation::kShared},    {"rshared", Propagation::kRecursiveShared},
      {"slave", Propagation::kSlave},      {"rslave", Propagation::kRecursiveSlave},
  };
  std::string way = reader.String("propagation", "rprivate");
  for (const auto& [name, value] : kWays) {
    if (name == way) {
      out = value;
      return;
    }
  }
  reader.Fault("propagation", "must be [r]private, [r]shared or [r]slave, not `" + way + "`");
}

void ReadDevices(const json::Reader& reader, std::vector<rootfs::Device>& out) {
  for (const json::Reader& item : reader.Objects("devices")) {
    rootfs::Device device;
    device.path = item.String("path");
    std::string type = item.String("type");
    if (type != "b" && type != "c") item.Fault("type", "must be `b` or `c`, not `" + type + "`");
    device.block = type == "b";
    device.major = static_cast<unsigned>(item.Int("major", 0, 0, 0xfff));
    device.minor = static_cast<unsigned>(item.Int("minor", 0, 0, 0xfffff));
    device.mode = static_cast<uint32_t>(item.Int("mode", 0660, 0, 0777));
    device.uid = static_cast<uint32_t>(item.Int("uid", 0, 0, 0x7fffffff));
    device.gid = static_cast<uint32_t>(item.Int("gid", 0, 0, 0x7fffffff));
    if (device.path.size() < 2 || device.path[0] != '/') item.Fault("path", "must be an absolute path below /");
    out.push_back(std::move(device));
  }
}

void ReadDeviceRules(const json::Reader& reader, std::vector<cgroup::DeviceRule>& out) {
  for (const json::Reader& item : reader.Objects("deviceRules")) {
    cgroup::DeviceRule rule;
    std::string type = item.String("type");
    if (type != "a" && type != "b" && type != "c") item.Fault("type", "must be `a`, `b` or `c`, not `" + type + "`");
    rule.type = type.empty() ? 'c' : type[0];
    rule.major = static_cast<int>(item.Int("major", -1, -1, 0xfff));
    rule.minor = static_cast<int>(item.Int("minor", -1, -1, 0xfffff));
    for (char c : item.String("access", "rwm")) {
      if (c == 'r') rule.read = true;
      else if (c == 'w') rule.write = true;
      else if (c == 'm') rule.mknod = true;
      else item.Fault("access", "must be of the letters r, w and m");
    }
    out.push_back(rule);
  }
}

bool IsPlain(std::string_view text) {
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

void ReadSink(const json::Reader& reader, LogSinkSpec& out) {
  std::string kind = reader.String("kind");
  if (kind.empty()) return;
  if (kind != "syslog" && kind != "journald") reader.Fault("kind", "must be `syslog` or `journald`, not `" + kind + "`");
  out.kind = kind == "syslog" ? LogSinkSpec::Kind::kSyslog : LogSinkSpec::Kind::kJournald;
  std::string transport = reader.String("transport", "unix");
  if (transport != "unix" && transport != "udp" && transport != "tcp") reader.Fault("transport", "must be unix, udp or tcp");
  out.transport = transport == "unix"  ? LogSinkSpec::Transport::kUnix
                  : transport == "udp" ? LogSinkSpec::Transport::kUdp
                                       : LogSinkSpec::Transport::kTcp;
  out.address = reader.String("address", out.address);
  if (out.address.empty() || out.address.size() > 100) reader.Fault("address", "must have 1 to 100 characters");
  out.port = static_cast<int>(reader.Int("port", out.port, 1, 65535));
  out.facility = static_cast<int>(reader.Int("facility", out.facility, 0, 23));
  out.rfc5424 = reader.Bool("rfc5424", false);
  out.hostname = reader.String("hostname");
  out.tag = reader.String("tag");
  out.fields = reader.Map("fields");
  for (const std::string* text : {&out.hostname, &out.tag}) {
    if (!IsPlain(*text)) reader.Fault("tag", "must not have control characters");
  }
  for (const auto& [name, value] : out.fields) {
    bool is_name = !name.empty() && name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == std::string::npos;
    if (!is_name || name[0] == '_' || !IsPlain(value)) reader.Fault("fields", "`" + name + "` is no field of the journal");
  }
}

void ReadHostNamespaces(const json::Reader& reader, HostNamespaces& out) {
  for (const std::string& name : reader.Strings("hostNamespaces")) {
    if (name == "pid") out.pid = true;
    else if (name == "ipc") out.ipc = true;
    else if (name == "network") out.network = true;
    else if (name == "uts") out.uts = true;
    else if (name == "cgroup") out.cgroup = true;
    else reader.Fault("hostNamespaces", "must be of pid, ipc, network, uts and cgroup, not `" + name + "`");
  }
}

std::vector<IdMapping> ReadMappings(const json::Reader& reader, std::string_view key) {
  std::vector<IdMapping> mappings;
  for (const json::Reader& item : reader.Objects(key)) {
    IdMapping mapping;
    mapping.container = static_cast<uint32_t>(item.Int("container", 0, 0, 0x7fffffff));
    mapping.host = static_cast<uint32_t>(item.Int("host", 0, 0, 0x7fffffff));
    mapping.size = static_cast<uint32_t>(item.Int("size", 0, 1, 0x7fffffff));
    mappings.push_back(mapping);
  }
  return mappings;
}

void ReadUserNamespace(const json::Reader& reader, Spec& out) {
  if (!reader.Has("userNamespace")) return;
  json::Reader own = reader.Child("userNamespace");
  IdMaps& ids = out.root.ids;
  ids = {ReadMappings(own, "uids"), ReadMappings(own, "gids")};
  for (const auto& [name, mappings] : {std::pair("uids", &ids.uids), std::pair("gids", &ids.gids)}) {
    bool has_root = std::any_of(mappings->begin(), mappings->end(), [](const IdMapping& mapping) { return mapping.container == 0; });
    if (!has_root) own.Fault(name, "must map 0, the container's root");
  }
  // What belongs to the host is not to be changed from within.
  if (out.host.pid || out.host.ipc || out.host.network || !out.netns_path.empty()) {
    reader.Fault("userNamespace", "excludes pid, ipc and network namespaces of the host");
  }
}

void ReadMounts(const json::Reader& reader, std::vector<rootfs::Mount>& out) {
  for (const json::Reader& item : reader.Objects("mounts")) {
    rootfs::Mount mount;
    std::string type = item.String("type");
    if (type == "tmpfs") {
      mount.kind = rootfs::Mount::Kind::kTmpfs;
    } else if (type == "filesystem") {
      mount.kind = rootfs::Mount::Kind::kFileSystem;
      mount.file_system = item.String("fileSystem");
      if (mount.file_system.empty()) item.Fault("fileSystem", "must be set");
    } else if (type != "bind") {
      item.Fault("type", "must be `bind`, `tmpfs` or `filesystem`, not `" + type + "`");
    }
    mount.options = item.String("options");
    mount.sub_path = item.String("subPath");
    mount.read_only_top = item.Bool("readOnlyTop", false);
    mount.fill = item.Bool("fill", false);
    mount.map_ids = item.Bool("mapIds", false);
    ReadPropagation(item, mount.propagation);
    mount.source = item.String("source");
    mount.target = item.String("target");
    mount.read_only = item.Bool("readOnly", false);
    mount.recursive = item.Bool("recursive", true);
    mount.no_exec = item.Bool("noExec", false);
    mount.size_bytes = item.Int("sizeBytes", 0, 0, kMost);
    mount.mode = static_cast<uint32_t>(item.Int("mode", 01777, 0, 07777));
    if (mount.target.size() < 2 || mount.target[0] != '/') item.Fault("target", "must be an absolute path below /");
    if (mount.kind == rootfs::Mount::Kind::kBind && (mount.source.empty() || mount.source[0] != '/')) {
      item.Fault("source", "must be an absolute path");
    }
    out.push_back(std::move(mount));
  }
}

void ReadRoot(const json::Reader& reader, rootfs::Root& out) {
  out.layers = reader.Strings("layers");
  out.upper = reader.String("upper");
  out.work = reader.String("work");
  out.folder = reader.String("folder");
  out.read_only = reader.Bool("readOnly", false);
  if (out.folder.empty() || out.folder[0] != '/') reader.Fault("folder", "must be an absolute path");
  if (!out.layers.empty() && (out.upper.empty() || out.work.empty())) {
    reader.Fault("upper", "layers need `upper` and `work`");
  }
}

void ReadLimits(const json::Reader& reader, cgroup::Limits& out) {
  out.memory_bytes = reader.Int("memoryBytes", 0, 0, kMost);
  out.memory_reservation_bytes = reader.Int("memoryReservationBytes", 0, 0, kMost);
  out.cpu_quota_us = reader.Int("cpuQuotaUs", 0, 0, kMost / 1000);
  out.cpu_shares = reader.Int("cpuShares", 0, 0, 262144);
  out.pids = reader.Int("pids", 0, 0, 4194304);
  if (reader.Has("swapBytes")) out.swap_bytes = reader.Int("swapBytes", 0, -1, kMost / 2);
  out.swappiness = reader.Int("swappiness", -1, -1, 100);
  out.cpus = reader.String("cpus");
  out.memory_nodes = reader.String("memoryNodes");
  out.io_weight = reader.Int("ioWeight", 0, 0, 1000);
  for (const json::Reader& item : reader.Objects("ioLimits")) {
    cgroup::IoLimit limit;
    limit.major = static_cast<unsigned>(item.Int("major", 0, 0, 0xfff));
    limit.minor = static_cast<unsigned>(item.Int("minor", 0, 0, 0xfffff));
    limit.read_bps = item.Int("readBps", 0, 0, kMost);
    limit.write_bps = item.Int("writeBps", 0, 0, kMost);
    limit.read_iops = item.Int("readIops", 0, 0, kMost);
    limit.write_iops = item.Int("writeIops", 0, 0, kMost);
    out.io_limits.push_back(limit);
  }
  ReadDeviceRules(reader, out.devices);
}

}  // namespace

Result<Spec> ParseSpec(std::string_view text) {
  STARLING_ASSIGN(value, json::Parse(text));
  std::string fault;
  json::Reader reader(value, "", &fault);
  Spec spec;
  int64_t version = reader.Int("version", 0, 0, kMost);
  if (fault.empty() && version != kSpecVersion) {
    return Error{"spec: version " + std::to_string(version) + ", this shim reads version " + std::to_string(kSpecVersion), EPROTO};
  }
  spec.id = reader.String("id");
  spec.hostname = reader.String("hostname");
  spec.domainname = reader.String("domainname");
  spec.netns_path = reader.String("netnsPath");
  ReadHostNamespaces(reader, spec.host);
  ReadUserNamespace(reader, spec);
  spec.root.host_ipc = spec.host.ipc;
  spec.root.host_network = spec.host.network;
  spec.root.writable_sys = reader.Bool("writableSys", false);
  ReadDevices(reader, spec.root.devices);
  spec.init = reader.Bool("init", false);
  spec.oom_score_adj = reader.Int("oomScoreAdj", 0, -1000, 1000);
  ReadProcess(reader.Child("process"), ProcessSpec{}, spec.process);
  ReadRoot(reader.Child("root"), spec.root.root);
  ReadMounts(reader, spec.root.mounts);
  spec.root.shm_bytes = reader.Int("shmBytes", spec.root.shm_bytes, 0, kMost);
  spec.root.sysctls = reader.Map("sysctls");
  spec.root.masked_paths = reader.Has("maskedPaths") ? reader.Strings("maskedPaths") : rootfs::DefaultMaskedPaths();
  spec.root.readonly_paths = reader.Has("readonlyPaths") ? reader.Strings("readonlyPaths") : rootfs::DefaultReadonlyPaths();
  spec.root.tty = spec.process.tty;
  json::Reader cgroup = reader.Child("cgroup");
  spec.placement.parent = cgroup.String("parent");
  spec.placement.name = cgroup.String("name");
  ReadLimits(reader.Child("resources"), spec.limits);
  json::Reader log = reader.Child("log");
  spec.log.path = log.String("path");
  spec.log.max_bytes = log.Int("maxBytes", spec.log.max_bytes, 4096, kMost);
  spec.log.max_files = log.Int("maxFiles", spec.log.max_files, 1, 1000);
  ReadSink(log.Child("sink"), spec.log.sink);
  if (!fault.empty()) return Error{"spec: " + fault, EINVAL};
  return spec;
}

Result<ProcessSpec> ParseProcess(std::string_view text, const ProcessSpec& fallback) {
  STARLING_ASSIGN(value, json::Parse(text));
  std::string fault;
  ProcessSpec process;
  ReadProcess(json::Reader(value, "", &fault), fallback, process);
  if (!fault.empty()) return Error{"exec: " + fault, EINVAL};
  return process;
}

}  // namespace starling
