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

Status MountTmpfs(const Mount& mount_spec) {
  STARLING_ASSIGN(target, OpenTarget(mount_spec.target, false));
  char mode[16];
  snprintf(mode, sizeof mode, "mode=%o", mount_spec.mode & 07777U);
  std::string options = mode;
  if (mount_spec.size_bytes > 0) options.append(",size=").append(std::to_string(mount_spec.size_bytes));
  if (!mount_spec.options.empty()) options.append(",").append(mount_spec.options);
  unsigned long flags = MS_NOSUID | MS_NODEV | (mount_spec.no_exec ? static_cast<unsigned long>(MS_NOEXEC) : 0UL) |
                        (mount_spec.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL);
  if (mount("tmpfs", FdPath(target).c_str(), "tmpfs", flags, options.c_str()) != 0) {
    return Error::Errno("mount tmpfs on", mount_spec.target);
  }
  return {};
}

// Mounted by the container's init, in the container's namespaces: it ends with them.
Status MountFileSystem(const Mount& wanted) {
  STARLING_ASSIGN(target, OpenTarget(wanted.target, false));
  unsigned long flags = MS_NOSUID | MS_NODEV | (wanted.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL);
  const char* options = wanted.options.empty() ? nullptr : wanted.options.c_str();
  if (mount(wanted.source.c_str(), FdPath(target).c_str(), wanted.file_system.c_str(), flags, options) != 0) {
    return Error::Errno("mount " + wanted.file_system + " `" + wanted.source + "` on", wanted.target);
  }
  return {};
}

Status AttachBind(const Mount& mount, const UniqueFd& tree) {
  struct stat info;
  if (fstat(tree.get(), &info) != 0) return Error::Errno("stat", mount.source);
  STARLING_ASSIGN(target, OpenTarget(mount.target, !S_ISDIR(info.st_mode)));
  if (mount.fill && S_ISDIR(info.st_mode)) {
    STARLING_ASSIGN(from, fs::Open(FdPath(target), O_RDONLY | O_DIRECTORY));
    STARLING_ASSIGN(to, fs::Open(FdPath(tree), O_RDONLY | O_DIRECTORY));
    STARLING_TRY(FillFolder(from.get(), to.get(), mount.target));
  }
  return AttachTree(tree, target, mount.target);
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
  std::vector<UniqueFd> trees;
  for (const Mount& mount : plan.mounts) {
    if (mount.kind != Mount::Kind::kBind) {
      trees.emplace_back();
      continue;
    }
    STARLING_ASSIGN(tree, CloneTree(mount));
    trees.push_back(std::move(tree));
  }
  UniqueFd host_shm(plan.host_ipc ? open_tree(AT_FDCWD, "/dev/shm", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) : -1);
  if (plan.host_ipc && !host_shm) return Error::Errno("bind mount", "/dev/shm");
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
  STARLING_TRY(PivotInto(plan.root.folder));
  STARLING_TRY(MountKernelFileSystems(plan));
  STARLING_ASSIGN(null_device, OpenNullDevice());
  if (host_shm) {
    STARLING_ASSIGN(target, OpenTarget("/dev/shm", false));
    STARLING_TRY(AttachTree(host_shm, target, "/dev/shm"));
  }
  for (size_t i = 0; i < plan.mounts.size(); i++) {
    const Mount& mount = plan.mounts[i];
    switch (mount.kind) {
      case Mount::Kind::kBind: STARLING_TRY(AttachBind(mount, trees[i])); break;
      case Mount::Kind::kTmpfs: STARLING_TRY(MountTmpfs(mount)); break;
      case Mount::Kind::kFileSystem: STARLING_TRY(MountFileSystem(mount)); break;
    }
  }
  STARLING_TRY(Protect(plan, null_device));
  if (plan.root.read_only) {
    UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    STARLING_TRY(SetMountAttributes(root.get(), MOUNT_ATTR_RDONLY, false, "/"));
  }
  return {};
}

}  // namespace starling::rootfs
