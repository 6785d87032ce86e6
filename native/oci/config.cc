#include "config.h"

#include <sched.h>

#include <algorithm>

namespace starling::oci {
namespace {

// "1.0.2", "1.2.0+dev", "1.1.0-rc.1": any minor of major version 1, which promises to stay compatible.
bool KnownVersion(const std::string& version) {
  if (!version.starts_with("1.")) return false;
  size_t at = 2;
  auto digits = [&] {
    size_t start = at;
    while (at < version.size() && version[at] >= '0' && version[at] <= '9') at++;
    return at > start;
  };
  if (!digits() || at >= version.size() || version[at++] != '.' || !digits()) return false;
  return at == version.size() || version[at] == '-' || version[at] == '+';
}

void ReadRoot(const json::Reader& reader, const std::string& bundle, Config& config) {
  json::Reader root = reader.Child("root");
  std::string path = root.String("path");
  if (path.empty()) root.Fault("path", "must name the root file system's folder");
  config.root_path = path.starts_with('/') ? path : bundle + "/" + path;
  config.root_readonly = root.Bool("readonly", false);
}

void ReadMounts(const json::Reader& reader, const std::string& bundle, Config& config) {
  for (const json::Reader& item : reader.Objects("mounts")) {
    Mount mount;
    mount.name = "mounts[" + std::to_string(config.mounts.size()) + "]";
    mount.destination = item.String("destination");
    if (mount.destination.empty()) item.Fault("destination", "must be a path");
    // Relative ones are deprecated and count from the root.
    if (!mount.destination.starts_with('/')) mount.destination.insert(0, "/");
    mount.type = item.String("type");
    mount.source = item.String("source");
    mount.options = ParseMountOptions(item.Strings("options"));
    if (mount.type == "bind") mount.options.bind = true;
    if (mount.options.bind) {
      if (mount.source.empty()) item.Fault("source", "a bind mount needs one");
      if (!mount.source.starts_with('/')) mount.source = bundle + "/" + mount.source;
    } else if (mount.type.empty() && (mount.options.set & 32 /* MS_REMOUNT */) == 0 && mount.options.propagation.empty()) {
      item.Fault("type", "must name a file system, or `options` must have `bind`");
    }
    mount.ids.uids = ReadMappings(item, "uidMappings");
    mount.ids.gids = ReadMappings(item, "gidMappings");
    if (mount.ids.uids.empty() != mount.ids.gids.empty()) {
      item.Fault("uidMappings", "must come together with `gidMappings`");
    }
    if (!mount.ids.uids.empty()) mount.options.idmap = true;
    if (mount.options.idmap && !mount.options.bind) item.Fault("options", "`idmap` is for bind mounts only");
    if (mount.options.copy_up && mount.type != "tmpfs") item.Fault("options", "`tmpcopyup` is for tmpfs only");
    config.mounts.push_back(std::move(mount));
  }
}

std::vector<Hook> ReadHooks(const json::Reader& reader, std::string_view key) {
  std::vector<Hook> hooks;
  for (const json::Reader& item : reader.Objects(key)) {
    Hook hook;
    hook.path = item.String("path");
    if (!hook.path.starts_with('/')) item.Fault("path", "must be an absolute path");
    hook.args = item.Strings("args");
    if (hook.args.empty()) hook.args.push_back(hook.path);
    hook.env = item.Strings("env");
    if (item.Has("timeout")) hook.timeout_s = item.Int("timeout", 0, 1, INT32_MAX);
    hooks.push_back(std::move(hook));
  }
  return hooks;
}

}  // namespace

const Namespace* Config::FindNamespace(uint64_t flag) const {
  auto found = std::find_if(namespaces.begin(), namespaces.end(), [&](const Namespace& n) { return n.flag == flag; });
  return found == namespaces.end() ? nullptr : &*found;
}

bool Config::HasNew(uint64_t flag) const {
  const Namespace* found = FindNamespace(flag);
  return found != nullptr && found->path.empty();
}

std::vector<IdMapping> ReadMappings(const json::Reader& reader, std::string_view key) {
  std::vector<IdMapping> mappings;
  for (const json::Reader& item : reader.Objects(key)) {
    for (const char* member : {"containerID", "hostID", "size"}) {
      if (!item.Has(member)) item.Fault(member, "must be set");
    }
    IdMapping mapping;
    mapping.container = static_cast<uint32_t>(item.Uint("containerID", 0, UINT32_MAX));
    mapping.host = static_cast<uint32_t>(item.Uint("hostID", 0, UINT32_MAX));
    mapping.size = static_cast<uint32_t>(item.Uint("size", 0, UINT32_MAX));
    mappings.push_back(mapping);
  }
  return mappings;
}

Result<Config> ParseConfig(std::string_view text, const std::string& bundle) {
  STARLING_ASSIGN(value, json::Parse(text));
  std::string fault;
  json::Reader reader(value, "", &fault);
  Config config;
  config.oci_version = reader.String("ociVersion");
  if (!KnownVersion(config.oci_version)) {
    reader.Fault("ociVersion", "must be 1.x.y, not `" + config.oci_version + "`");
  }
  ReadRoot(reader, bundle, config);
  ReadMounts(reader, bundle, config);
  config.hostname = reader.String("hostname");
  config.domainname = reader.String("domainname");
  config.annotations = reader.Map("annotations");
  for (const auto& [name, unused] : config.annotations) {
    if (name.empty()) reader.Fault("annotations", "must not have an empty key");
  }
  if (reader.Has("process")) config.process = ReadProcess(reader.Child("process"), config.warnings);
  json::Reader hooks = reader.Child("hooks");
  config.hooks.prestart = ReadHooks(hooks, "prestart");
  config.hooks.create_runtime = ReadHooks(hooks, "createRuntime");
  config.hooks.create_container = ReadHooks(hooks, "createContainer");
  config.hooks.start_container = ReadHooks(hooks, "startContainer");
  config.hooks.poststart = ReadHooks(hooks, "poststart");
  config.hooks.poststop = ReadHooks(hooks, "poststop");
  ReadLinux(reader.Child("linux"), config);
  if (!fault.empty()) return Error{"config.json: " + fault, EINVAL};
  return config;
}

}  // namespace starling::oci
