#include "id_map.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "../sys/clone.h"
#include "../sys/fs.h"

namespace starling::oci {
namespace {

std::string MapText(const std::vector<IdMapping>& mappings) {
  std::string text;
  for (const IdMapping& mapping : mappings) {
    text += std::to_string(mapping.container) + " " + std::to_string(mapping.host) + " " + std::to_string(mapping.size) + "\n";
  }
  return text;
}

Error Named(std::string_view member, const Error& error) {
  return Error{"linux." + std::string(member) + ": " + error.message, error.number};
}

}  // namespace

Status WriteIdMaps(pid_t pid, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids) {
  std::string folder = "/proc/" + std::to_string(pid);
  if (Status done = fs::WriteControl(folder + "/uid_map", MapText(uids)); !done.ok()) return Named("uidMappings", done.error());
  if (Status done = fs::WriteControl(folder + "/gid_map", MapText(gids)); !done.ok()) return Named("gidMappings", done.error());
  return {};
}

// A mount takes its mapping from a user namespace; one is made for the purpose, by a child that only waits to be killed.
Status MapIds(int tree, const std::vector<IdMapping>& uids, const std::vector<IdMapping>& gids, bool recursive) {
  STARLING_ASSIGN(child, Clone({.flags = CLONE_NEWUSER}));
  if (child.pid == 0) {
    for (;;) pause();
  }
  auto map = [&]() -> Status {
    STARLING_TRY(WriteIdMaps(child.pid, uids, gids));
    STARLING_ASSIGN(space, fs::Open("/proc/" + std::to_string(child.pid) + "/ns/user", O_RDONLY));
    mount_attr attributes;
    std::memset(&attributes, 0, sizeof attributes);
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<uint64_t>(space.get());
    unsigned flags = AT_EMPTY_PATH | (recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
    if (mount_setattr(tree, "", flags, &attributes, sizeof attributes) != 0) return Error::Errno("mount_setattr", "idmap");
    return {};
  };
  Status mapped = map();
  kill(child.pid, SIGKILL);
  waitpid(child.pid, nullptr, 0);
  return mapped;
}

}  // namespace starling::oci
