#include "rootfs.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "../sys/fs.h"
#include "internal.h"

namespace starling::rootfs {
namespace {

Result<UniqueFd> OpenInRoot(const std::string& path, uint64_t flags) {
  open_how how;
  std::memset(&how, 0, sizeof how);
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return Error::Errno("open", "/");
  UniqueFd fd(static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
  if (!fd) return Error::Errno("open mount target", path);
  return fd;
}

// lowerdir takes paths joined by `:` within one page: descriptors keep them short and free of characters to escape.
Status MountOverlay(const Root& root) {
  std::vector<UniqueFd> layers;
  std::string options = "lowerdir=";
  for (const std::string& layer : root.layers) {
    STARLING_ASSIGN(fd, fs::Open(layer, O_PATH | O_DIRECTORY));
    if (!layers.empty()) options.push_back(':');
    options.append(FdPath(fd));
    layers.push_back(std::move(fd));
  }
  STARLING_ASSIGN(upper, fs::Open(root.upper, O_PATH | O_DIRECTORY));
  STARLING_ASSIGN(work, fs::Open(root.work, O_PATH | O_DIRECTORY));
  options.append(",upperdir=").append(FdPath(upper)).append(",workdir=").append(FdPath(work));
  // volatile (kernel ≥ 5.10): a container's own layer is never mounted twice, so syncing it at its end buys nothing.
  std::string without_sync = options + ",volatile";
  if (mount("overlay", root.folder.c_str(), "overlay", 0, without_sync.c_str()) == 0) return {};
  if (errno != EINVAL) return Error::Errno("mount overlay on", root.folder);
  if (mount("overlay", root.folder.c_str(), "overlay", 0, options.c_str()) == 0) return {};
  return Error::Errno("mount overlay on", root.folder);
}

// Copies the source's mount while the host's root is still in sight.
Result<UniqueFd> CloneTree(const Mount& mount) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (mount.recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  UniqueFd tree(open_tree(AT_FDCWD, mount.source.c_str(), flags));
  if (!tree) return Error::Errno("bind mount", mount.source);
  uint64_t attributes = (mount.read_only ? MOUNT_ATTR_RDONLY : 0) | (mount.no_exec ? MOUNT_ATTR_NOEXEC : 0);
  attributes |= MOUNT_ATTR_NOSUID * (mount.no_exec ? 1 : 0);
  if (attributes != 0) STARLING_TRY(SetMountAttributes(tree.get(), attributes, mount.recursive, mount.source));
  return tree;
}

Status MountTmpfs(const Mount& mount_spec) {
  STARLING_ASSIGN(target, OpenTarget(mount_spec.target, false));
  char options[96];
  int length = snprintf(options, sizeof options, "mode=%o", mount_spec.mode & 07777U);
  if (mount_spec.size_bytes > 0) {
    snprintf(options + length, sizeof options - static_cast<size_t>(length), ",size=%lld",
             static_cast<long long>(mount_spec.size_bytes));
  }
  unsigned long flags = MS_NOSUID | MS_NODEV | (mount_spec.no_exec ? static_cast<unsigned long>(MS_NOEXEC) : 0UL) |
                        (mount_spec.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL);
  if (mount("tmpfs", FdPath(target).c_str(), "tmpfs", flags, options) != 0) {
    return Error::Errno("mount tmpfs on", mount_spec.target);
  }
  return {};
}

Status PivotInto(const std::string& folder) {
  if (chdir(folder.c_str()) != 0) return Error::Errno("chdir", folder);
  // pivot_root(2), "pivot_root(".", ".")": the old root ends stacked under the new one and is detached from there.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return Error::Errno("pivot_root", folder);
  if (umount2(".", MNT_DETACH) != 0) return Error::Errno("umount", "old root");
  if (chdir("/") != 0) return Error::Errno("chdir", "/");
  return {};
}

}  // namespace

std::string FdPath(const UniqueFd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

Status SetMountAttributes(int fd, uint64_t set, bool recursive, const std::string& name) {
  mount_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.attr_set = set;
  unsigned flags = AT_EMPTY_PATH | (recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  if (mount_setattr(fd, "", flags, &attributes, sizeof attributes) != 0) return Error::Errno("mount_setattr", name);
  return {};
}

Status AttachTree(const UniqueFd& tree, const UniqueFd& target, const std::string& name) {
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  if (move_mount(tree.get(), "", target.get(), "", flags) != 0) return Error::Errno("mount on", name);
  return {};
}

Result<UniqueFd> OpenTarget(const std::string& target, bool as_file) {
  if (target.empty() || target[0] != '/' || target == "/") {
    return Error{"mount target `" + target + "`: must be an absolute path below /", EINVAL};
  }
  auto fd = OpenInRoot(target, O_PATH);
  if (!fd.ok() && fd.error().number == ENOENT) {
    if (as_file) {
      STARLING_TRY(fs::MakeFolders(fs::Parent(target)));
      auto made = OpenInRoot(fs::Parent(target), O_PATH | O_DIRECTORY);
      if (!made.ok()) return made;
      std::string leaf = target.substr(target.rfind('/') + 1);
      UniqueFd file(openat(made->get(), leaf.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
      if (!file) return Error::Errno("make mount target", target);
    } else {
      STARLING_TRY(fs::MakeFolders(target));
    }
    fd = OpenInRoot(target, O_PATH);
  }
  if (!fd.ok()) return fd;
  struct statfs info;
  if (fstatfs(fd->get(), &info) != 0) return Error::Errno("statfs", target);
  if (info.f_type == PROC_SUPER_MAGIC) return Error{"mount target `" + target + "`: lies inside /proc", EPERM};
  return fd;
}

Status Enter(const Plan& plan) {
  // Mounts of the host still appear here (so that its unmounts do too, and no device stays busy), none goes back.
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) return Error::Errno("make slave", "/");
  if (plan.root.layers.empty()) {
    const char* folder = plan.root.folder.c_str();
    if (mount(folder, folder, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
      return Error::Errno("bind mount", plan.root.folder);
    }
  } else {
    STARLING_TRY(MountOverlay(plan.root));
  }
  std::vector<UniqueFd> trees;
  for (const Mount& mount : plan.mounts) {
    if (mount.kind != Mount::Kind::kBind) {
      trees.emplace_back();
      continue;
    }
    STARLING_ASSIGN(tree, CloneTree(mount));
    trees.push_back(std::move(tree));
  }
  STARLING_TRY(PivotInto(plan.root.folder));
  STARLING_TRY(MountKernelFileSystems(plan));
  for (size_t i = 0; i < plan.mounts.size(); i++) {
    const Mount& mount = plan.mounts[i];
    if (mount.kind == Mount::Kind::kTmpfs) {
      STARLING_TRY(MountTmpfs(mount));
      continue;
    }
    struct stat info;
    if (fstat(trees[i].get(), &info) != 0) return Error::Errno("stat", mount.source);
    STARLING_ASSIGN(target, OpenTarget(mount.target, !S_ISDIR(info.st_mode)));
    STARLING_TRY(AttachTree(trees[i], target, mount.target));
  }
  STARLING_TRY(Protect(plan));
  if (plan.root.read_only) {
    UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    STARLING_TRY(SetMountAttributes(root.get(), MOUNT_ATTR_RDONLY, false, "/"));
  }
  return {};
}

}  // namespace starling::rootfs
