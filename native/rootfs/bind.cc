#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "../sys/fs.h"
#include "internal.h"

namespace starling::rootfs {
namespace {

bool IsShared(Propagation way) { return way == Propagation::kShared || way == Propagation::kRecursiveShared; }

bool IsRecursive(Propagation way) {
  return way == Propagation::kRecursivePrivate || way == Propagation::kRecursiveShared || way == Propagation::kRecursiveSlave;
}

unsigned long KernelPropagation(Propagation way) {
  switch (way) {
    case Propagation::kPrivate:
    case Propagation::kRecursivePrivate: return MS_PRIVATE;
    case Propagation::kShared:
    case Propagation::kRecursiveShared: return MS_SHARED;
    case Propagation::kSlave:
    case Propagation::kRecursiveSlave: return MS_SLAVE;
  }
  return MS_PRIVATE;
}

// The mount that `fd` lies on, as mountinfo numbers it; empty when unknown.
std::string MountId(int fd) {
  auto text = fs::ReadFile("/proc/self/fdinfo/" + std::to_string(fd), 4096);
  if (!text.ok()) return "";
  for (std::string_view line : fs::Split(*text, '\n')) {
    if (!line.starts_with("mnt_id:")) continue;
    size_t digits = line.find_first_of("0123456789");
    return digits == std::string_view::npos ? "" : std::string(line.substr(digits));
  }
  return "";
}

// Whether that mount is in a peer group, proc(5): an optional field "shared:N".
Result<bool> LiesOnSharedMount(const std::string& path) {
  STARLING_ASSIGN(fd, fs::Open(path, O_PATH));
  std::string id = MountId(fd.get());
  STARLING_ASSIGN(mountinfo, fs::ReadFile("/proc/self/mountinfo", 64 << 20));
  for (std::string_view line : fs::Split(mountinfo, '\n')) {
    std::vector<std::string_view> fields = fs::Split(line.substr(0, line.find(" - ")), ' ');
    if (fields.size() < 6 || fields[0] != id) continue;
    for (size_t i = 6; i < fields.size(); i++) {
      if (fields[i].starts_with("shared:")) return true;
    }
  }
  return false;
}

Result<UniqueFd> OpenSource(const Mount& mount) {
  UniqueFd source(open(mount.source.c_str(), O_PATH | O_CLOEXEC));
  if (!source) return Error::Errno("bind mount", mount.source);
  if (mount.sub_path.empty()) return source;
  open_how how;
  std::memset(&how, 0, sizeof how);
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  UniqueFd below(static_cast<int>(syscall(SYS_openat2, source.get(), mount.sub_path.c_str(), &how, sizeof how)));
  if (!below) return Error::Errno("bind mount `" + mount.source + "`: open", mount.sub_path);
  return below;
}

Status SetPropagation(const UniqueFd& tree, Propagation way, const std::string& name) {
  mount_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.propagation = KernelPropagation(way);
  unsigned flags = AT_EMPTY_PATH | (IsRecursive(way) ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  if (mount_setattr(tree.get(), "", flags, &attributes, sizeof attributes) != 0) {
    return Error::Errno("set propagation of", name);
  }
  return {};
}

}  // namespace

Result<UniqueFd> CloneTree(const Mount& mount) {
  if (IsShared(mount.propagation)) {
    STARLING_ASSIGN(shared, LiesOnSharedMount(mount.source));
    if (!shared) {
      return Error{"bind mount `" + mount.source + "`: it does not lie on a shared mount of the host, as its propagation asks for " +
                       "(mount --make-shared)",
                   EINVAL};
    }
  }
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (mount.recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  STARLING_ASSIGN(source, OpenSource(mount));
  UniqueFd tree(open_tree(source.get(), "", flags | AT_EMPTY_PATH));
  if (!tree) return Error::Errno("bind mount", mount.source);
  if (mount.read_only) {
    STARLING_TRY(SetMountAttributes(tree.get(), MOUNT_ATTR_RDONLY, mount.recursive && !mount.read_only_top, mount.source));
  }
  if (mount.no_exec) {
    STARLING_TRY(SetMountAttributes(tree.get(), MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID, mount.recursive, mount.source));
  }
  // A clone is in the peer group of its source: "shared" is what it is already.
  if (!IsShared(mount.propagation)) STARLING_TRY(SetPropagation(tree, mount.propagation, mount.source));
  return tree;
}

}  // namespace starling::rootfs
