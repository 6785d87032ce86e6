#include <sched.h>

#include <algorithm>

#include "config.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace starling::oci {
namespace {

struct Named {
  std::string_view name;
  uint64_t flag;
};

constexpr Named kNamespaces[] = {{"pid", CLONE_NEWPID}, {"network", CLONE_NEWNET},   {"mount", CLONE_NEWNS},
                                 {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS},       {"user", CLONE_NEWUSER},
                                 {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};

void ReadNamespaces(const json::Reader& linux_part, Config& config) {
  for (const json::Reader& item : linux_part.Objects("namespaces")) {
    std::string type = item.String("type");
    Namespace entry;
    for (const Named& known : kNamespaces) {
      if (known.name == type) entry.flag = known.flag;
    }
    entry.path = item.String("path");
    if (entry.flag == 0) item.Fault("type", "unknown namespace `" + type + "`");
    if (config.FindNamespace(entry.flag) != nullptr) item.Fault("type", "`" + type + "` is there twice");
    if (!entry.path.empty() && !entry.path.starts_with('/')) item.Fault("path", "must be an absolute path");
    if (entry.flag == CLONE_NEWNS && !entry.path.empty()) {
      item.Fault("path", "an existing mount namespace is not supported: leave it out");
    }
    config.namespaces.push_back(std::move(entry));
  }
  if (!config.HasNew(CLONE_NEWNS)) {
    linux_part.Fault("namespaces", "must have `mount`: a container's mounts may not land in the host's namespace");
  }
}

void ReadUserNamespace(const json::Reader& linux_part, Config& config) {
  config.ids.uids = ReadMappings(linux_part, "uidMappings");
  config.ids.gids = ReadMappings(linux_part, "gidMappings");
  bool mapped = !config.ids.uids.empty() || !config.ids.gids.empty();
  if (config.HasNew(CLONE_NEWUSER)) {
    if (config.ids.uids.empty()) linux_part.Fault("uidMappings", "a new user namespace needs them");
    if (config.ids.gids.empty()) linux_part.Fault("gidMappings", "a new user namespace needs them");
  } else if (mapped && config.FindNamespace(CLONE_NEWUSER) == nullptr) {
    linux_part.Fault("uidMappings", "need a namespace of type `user`");
  }
}

void ReadTimeOffsets(const json::Reader& linux_part, Config& config) {
  for (const auto& [clock, item] : linux_part.Children("timeOffsets")) {
    if (clock != "monotonic" && clock != "boottime") linux_part.Fault("timeOffsets", "unknown clock `" + clock + "`");
    TimeOffset offset{item.Int("secs", 0, INT64_MIN, INT64_MAX), static_cast<uint32_t>(item.Uint("nanosecs", 0, 999'999'999))};
    config.time_offsets.emplace_back(clock, offset);
  }
  if (!config.time_offsets.empty() && !config.HasNew(CLONE_NEWTIME)) {
    linux_part.Fault("timeOffsets", "need a new namespace of type `time`");
  }
}

void ReadDevices(const json::Reader& linux_part, Config& config) {
  for (const json::Reader& item : linux_part.Objects("devices")) {
    Device device;
    std::string type = item.String("type");
    if (type != "c" && type != "b" && type != "u" && type != "p") item.Fault("type", "must be c, b, u or p, not `" + type + "`");
    device.type = type == "u" || type.empty() ? 'c' : type[0];
    device.path = item.String("path");
    if (!device.path.starts_with('/') || device.path.size() < 2) item.Fault("path", "must be an absolute path below /");
    if (device.type != 'p' && (!item.Has("major") || !item.Has("minor"))) item.Fault("major", "must be set, and `minor` too");
    device.major = static_cast<uint32_t>(item.Int("major", 0, 0, (1 << 12) - 1));
    device.minor = static_cast<uint32_t>(item.Int("minor", 0, 0, (1 << 20) - 1));
    device.mode = static_cast<uint32_t>(item.Uint("fileMode", 0666, 0177777)) & 07777;
    device.uid = static_cast<uint32_t>(item.Uint("uid", 0, UINT32_MAX - 1));
    device.gid = static_cast<uint32_t>(item.Uint("gid", 0, UINT32_MAX - 1));
    config.devices.push_back(std::move(device));
  }
}

// Names of sysctls reach the path of a file: dots become slashes, and a slash within a name a dot (sysctl(8)).
void ReadSysctls(const json::Reader& linux_part, Config& config) {
  config.sysctls = linux_part.Map("sysctl");
  auto starts = [](const std::string& name, std::string_view prefix) { return name.starts_with(prefix); };
  for (const auto& [name, value] : config.sysctls) {
    bool ipc = starts(name, "kernel.shm") || starts(name, "kernel.msg") || name == "kernel.sem" || starts(name, "fs.mqueue.");
    bool uts = name == "kernel.domainname" || name == "kernel.hostname";
    bool user = starts(name, "user.");
    uint64_t flag = ipc ? CLONE_NEWIPC : uts ? CLONE_NEWUTS : starts(name, "net.") ? CLONE_NEWNET : user ? CLONE_NEWUSER : 0;
    std::string path = "`" + name + "`";
    if (flag == 0) linux_part.Fault("sysctl", path + " belongs to the host, not to a namespace");
    if (flag != 0 && config.FindNamespace(flag) == nullptr) {
      linux_part.Fault("sysctl", path + " needs the namespace that it belongs to in `linux.namespaces`");
    }
    if (name.find("..") != std::string::npos || name.find('\0') != std::string::npos) linux_part.Fault("sysctl", path + " is no name");
  }
}

void ReadPaths(const json::Reader& linux_part, std::string_view key, std::vector<std::string>& out) {
  out = linux_part.Strings(key);
  for (const std::string& path : out) {
    if (!path.starts_with('/')) linux_part.Fault(key, "`" + path + "` must be an absolute path");
  }
}

void ReadPersonality(const json::Reader& linux_part, Config& config) {
  if (!linux_part.Has("personality")) return;
  json::Reader item = linux_part.Child("personality");
  std::string domain = item.String("domain");
  if (domain != "LINUX" && domain != "LINUX32") item.Fault("domain", "must be LINUX or LINUX32, not `" + domain + "`");
  if (!item.Strings("flags").empty()) item.Fault("flags", "none is defined by the specification: leave them out");
  // PER_LINUX and PER_LINUX32 of sys/personality.h.
  config.personality = domain == "LINUX32" ? 8UL : 0UL;
}

void RefuseUnsupported(const json::Reader& linux_part) {
  if (linux_part.Has("intelRdt")) linux_part.Fault("intelRdt", "not supported: leave it out");
  if (linux_part.Has("netDevices")) linux_part.Fault("netDevices", "not supported: move devices in a createRuntime hook");
  if (linux_part.Has("memoryPolicy")) linux_part.Fault("memoryPolicy", "not supported: use resources.cpu.mems");
}

}  // namespace

void ReadLinux(const json::Reader& reader, Config& config) {
  ReadNamespaces(reader, config);
  ReadUserNamespace(reader, config);
  ReadTimeOffsets(reader, config);
  ReadDevices(reader, config);
  ReadSysctls(reader, config);
  ReadPaths(reader, "maskedPaths", config.masked_paths);
  ReadPaths(reader, "readonlyPaths", config.readonly_paths);
  ReadPersonality(reader, config);
  RefuseUnsupported(reader);
  config.cgroups_path = reader.String("cgroupsPath");
  config.resources = ReadResources(reader.Child("resources"));
  if (reader.Has("seccomp")) config.seccomp = ReadSeccomp(reader.Child("seccomp"));
  config.mount_label = reader.String("mountLabel");
  std::string propagation = reader.String("rootfsPropagation");
  if (!propagation.empty()) {
    config.root_propagation = PropagationFlags(propagation);
    if (config.root_propagation == 0) {
      reader.Fault("rootfsPropagation", "must be shared, slave, private or unbindable, not `" + propagation + "`");
    }
  }
  if (!config.hostname.empty() && config.FindNamespace(CLONE_NEWUTS) == nullptr) {
    reader.Fault("namespaces", "`hostname` needs a namespace of type `uts`");
  }
  if (!config.domainname.empty() && config.FindNamespace(CLONE_NEWUTS) == nullptr) {
    reader.Fault("namespaces", "`domainname` needs a namespace of type `uts`");
  }
}

}  // namespace starling::oci
