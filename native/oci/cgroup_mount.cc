#include "cgroup_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "../sys/unique_fd.h"
#include "mounts.h"

namespace starling::oci {
namespace {

std::string FdPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME;

Status Bind(const std::string& folder, int target, bool read_only) {
  UniqueFd tree(open_tree(AT_FDCWD, folder.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return Error::Errno("open_tree", folder);
  mount_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0);
  attributes.propagation = MS_PRIVATE;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) return Error::Errno("mount_setattr", folder);
  if (move_mount(tree.get(), "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) return Error::Errno("bind", folder);
  return {};
}

// The name of a hierarchy's folder is that of the host: "cpu", "memory", "unified".
std::string NameOf(const cgroup::Hierarchy& hierarchy) {
  size_t slash = hierarchy.mount_point.rfind('/');
  return hierarchy.mount_point.substr(slash + 1);
}

Status MountHierarchy(const cgroup::Hierarchy& hierarchy, const std::string& folder, int target, bool own_namespace,
                      bool read_only) {
  std::string controllers;
  for (const std::string& name : hierarchy.controllers) {
    if (!controllers.empty()) controllers.push_back(',');
    controllers.append(name == "name=systemd" ? "none,name=systemd" : name);
  }
  const char* type = hierarchy.v2 ? "cgroup2" : "cgroup";
  unsigned long flags = kFlags | (read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL);
  // Refused where the hierarchies belong to another user namespace: then the group is bound.
  if (own_namespace && mount("cgroup", FdPath(target).c_str(), type, flags, hierarchy.v2 ? nullptr : controllers.c_str()) == 0) return {};
  return Bind(folder, target, read_only);
}

}  // namespace

Status MountCgroups(const Mount& mount_entry, const cgroup::Cgroup& cgroup, int root, bool own_namespace) {
  STARLING_ASSIGN(target_fd, OpenBelow(root, mount_entry.destination, false, false));
  int target = target_fd.get();
  bool read_only = (mount_entry.options.set & MS_RDONLY) != 0;
  std::vector<cgroup::Member> members = cgroup.Members();
  if (members.empty()) return Error{"this host mounts no cgroups", ENOTSUP};
  if (members.size() == 1 && members[0].hierarchy.v2) {
    return MountHierarchy(members[0].hierarchy, members[0].folder, target, own_namespace, read_only);
  }
  if (mount("cgroup", FdPath(target).c_str(), "tmpfs", kFlags, "mode=755,size=1024k") != 0) return Error::Errno("mount", "tmpfs");
  // The first descriptor still names the folder below the tmpfs.
  STARLING_ASSIGN(top, OpenBelow(root, mount_entry.destination, false, false));
  std::set<std::string> names;
  for (const cgroup::Member& member : members) {
    std::string folder_name = NameOf(member.hierarchy);
    if (!names.insert(folder_name).second) continue;
    if (mkdirat(top.get(), folder_name.c_str(), 0755) != 0) return Error::Errno("mkdir", folder_name);
    UniqueFd folder(openat(top.get(), folder_name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    STARLING_TRY(MountHierarchy(member.hierarchy, member.folder, folder.get(), own_namespace, read_only));
    // "cpu,cpuacct" is also found as each of its controllers.
    for (const std::string& controller : member.hierarchy.controllers) {
      if (controller != folder_name && !controller.starts_with("name=") && names.insert(controller).second) {
        (void)!symlinkat(folder_name.c_str(), top.get(), controller.c_str());
      }
    }
  }
  return {};
}

}  // namespace starling::oci
