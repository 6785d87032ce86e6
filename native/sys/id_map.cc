#include "id_map.h"

#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

#include "clone.h"
#include "fs.h"

namespace starling {
namespace {

std::string MapText(const std::vector<IdMapping>& mappings) {
  std::string text;
  for (const IdMapping& mapping : mappings) {
    text += std::to_string(mapping.container) + " " + std::to_string(mapping.host) + " " + std::to_string(mapping.size) + "\n";
  }
  return text;
}

Error Named(std::string_view member, const Error& error) { return Error{std::string(member) + ": " + error.message, error.number}; }

}  // namespace

uint32_t HostId(const std::vector<IdMapping>& mappings, uint32_t id) {
  for (const IdMapping& mapping : mappings) {
    if (id >= mapping.container && id - mapping.container < mapping.size) return mapping.host + (id - mapping.container);
  }
  return id;
}

Status WriteIdMaps(pid_t pid, const IdMaps& maps) {
  std::string folder = "/proc/" + std::to_string(pid);
  if (Status done = fs::WriteControl(folder + "/uid_map", MapText(maps.uids)); !done.ok()) return Named("uidMappings", done.error());
  if (Status done = fs::WriteControl(folder + "/gid_map", MapText(maps.gids)); !done.ok()) return Named("gidMappings", done.error());
  return {};
}

// Made by a child that only waits to be killed.
Result<UniqueFd> MakeUserNamespace(const IdMaps& maps) {
  STARLING_ASSIGN(child, Clone({.flags = CLONE_NEWUSER}));
  if (child.pid == 0) {
    for (;;) pause();
  }
  auto make = [&]() -> Result<UniqueFd> {
    STARLING_TRY(WriteIdMaps(child.pid, maps));
    return fs::Open("/proc/" + std::to_string(child.pid) + "/ns/user", O_RDONLY);
  };
  auto made = make();
  kill(child.pid, SIGKILL);
  waitpid(child.pid, nullptr, 0);
  return made;
}

Status MapIds(int tree, const UniqueFd& user_namespace, bool recursive) {
  mount_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(user_namespace.get());
  unsigned flags = AT_EMPTY_PATH | (recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  if (mount_setattr(tree, "", flags, &attributes, sizeof attributes) != 0) return Error::Errno("mount_setattr", "idmap");
  return {};
}

Status BecomeMappedRoot() {
  if (setgroups(0, nullptr) != 0 && errno != EPERM) return Error::Errno("setgroups", "");
  if (setresgid(0, 0, 0) != 0) return Error::Errno("gidMappings: setresgid", "0");
  if (setresuid(0, 0, 0) != 0) return Error::Errno("uidMappings: setresuid", "0");
  return {};
}

}  // namespace starling
