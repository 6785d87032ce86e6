#include "rootfs.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
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

// A detached mount of the file system, made in the namespaces of the host: the container's network is not there yet.
Result<UniqueFd> CloneFileSystem(const Mount& wanted, const std::string& folder) {
  unsigned long flags = MS_NOSUID | MS_NODEV | (wanted.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL);
  const char* options = wanted.options.empty() ? nullptr : wanted.options.c_str();
  if (mount(wanted.source.c_str(), folder.c_str(), wanted.file_system.c_str(), flags, options) != 0) {
    return Error::Errno("mount " + wanted.file_system + " `" + wanted.source + "` on", wanted.target);
  }
  UniqueFd tree(open_tree(AT_FDCWD, folder.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  Error problem = Error::Errno("open_tree", wanted.target);
  if (umount2(folder.c_str(), MNT_DETACH) != 0) return Error::Errno("umount", folder);
  if (!tree) return problem;
  return tree;
}

Error NoMappedMounts(const std::string& path, const Error& error) {
  return Error{"user namespace: `" + path + "` cannot be shown with other owners (" + error.message +
                   "): it takes kernel 5.19 and a file system with idmapped mounts, such as ext4, xfs or btrfs",
               error.number};
}

// From here on, in this mount namespace, what lies at `path` is seen with mapped owners.
Status ShowMapped(const std::string& path, const UniqueFd& user_namespace) {
  UniqueFd tree(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return Error::Errno("open_tree", path);
  if (Status mapped = MapIds(tree.get(), user_namespace, false); !mapped.ok()) return NoMappedMounts(path, mapped.error());
  STARLING_ASSIGN(target, fs::Open(path, O_PATH | O_DIRECTORY));
  return AttachTree(tree, target, path);
}

Status MountRoot(const Root& root, const UniqueFd& user_namespace) {
  const char* folder = root.folder.c_str();
  if (user_namespace) {
    for (const std::string& layer : root.layers) STARLING_TRY(ShowMapped(layer, user_namespace));
    // overlayfs wants `upper` and `work` on one mount: what is mapped is the folder of both.
    STARLING_TRY(ShowMapped(root.layers.empty() ? root.folder : fs::Parent(root.upper), user_namespace));
  }
  if (!root.layers.empty()) {
    STARLING_TRY(MountOverlay(root));
  } else if (mount(folder, folder, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return Error::Errno("bind mount", root.folder);
  }
  if (chdir(folder) != 0) return Error::Errno("chdir", root.folder);
  return {};
}

Result<UniqueFd> SourceOf(const Mount& mount, const UniqueFd& user_namespace) {
  STARLING_ASSIGN(tree, CloneTree(mount));
  if (mount.map_ids && user_namespace) {
    Status mapped = MapIds(tree.get(), user_namespace, mount.recursive);
    if (!mapped.ok()) return NoMappedMounts(mount.source, mapped.error());
  }
  return tree;
}

// Where owners are mapped nothing can be made by the host's root, which has no number there: while this lives, files are made
// as root of the container, with the capabilities of the host's. Without ids it does nothing.
class AsContainerRoot {
 public:
  explicit AsContainerRoot(const IdMaps& ids) : active_(!ids.empty()) {
    if (!active_) return;
    (void)prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
    setfsgid(HostId(ids.gids, 0));
    setfsuid(HostId(ids.uids, 0));
  }
  ~AsContainerRoot() {
    if (!active_) return;
    setfsuid(geteuid());
    setfsgid(getegid());
    (void)prctl(PR_SET_SECUREBITS, 0, 0, 0, 0);
  }
  AsContainerRoot(const AsContainerRoot&) = delete;
  AsContainerRoot& operator=(const AsContainerRoot&) = delete;

 private:
  const bool active_;
};

// As MakeDevices, below the working folder.
Status MakeDevicesBelow(const Plan& plan) {
  STARLING_ASSIGN(host, fs::Open("/", O_PATH | O_DIRECTORY));
  if (chroot(".") != 0) return Error::Errno("chroot", plan.root.folder);
  Status made = MakeDevices(plan);
  UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (fchdir(host.get()) != 0 || chroot(".") != 0) return Error::Errno("chroot", "/");
  if (fchdir(root.get()) != 0) return Error::Errno("chdir", plan.root.folder);
  return made;
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

// A mount namespace of another user has the root as a locked mount, which is none to pivot into: its copy is.
Status MountCopyOfRoot() {
  UniqueFd tree(open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!tree) return Error::Errno("open_tree", "root");
  STARLING_ASSIGN(target, fs::Open(".", O_PATH | O_DIRECTORY));
  STARLING_TRY(AttachTree(tree, target, "root"));
  if (fchdir(tree.get()) != 0) return Error::Errno("chdir", "root");
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

Result<Sources> Prepare(const Plan& plan) {
  Sources sources;
  UniqueFd user_namespace;
  if (!plan.ids.empty()) {
    STARLING_ASSIGN(made, MakeUserNamespace(plan.ids));
    user_namespace = std::move(made);
  }
  for (const Mount& mount : plan.mounts) {
    sources.trees.emplace_back();
    if (mount.kind != Mount::Kind::kBind) continue;
    STARLING_ASSIGN(tree, SourceOf(mount, user_namespace));
    sources.trees.back() = std::move(tree);
  }
  if (plan.host_ipc) sources.host_shm.reset(open_tree(AT_FDCWD, "/dev/shm", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (plan.host_ipc && !sources.host_shm) return Error::Errno("bind mount", "/dev/shm");
  // Mounts of the host still appear here (so that its unmounts do too, and no device stays busy), none goes back.
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) return Error::Errno("make slave", "/");
  for (size_t i = 0; i < plan.mounts.size(); i++) {
    if (plan.mounts[i].kind != Mount::Kind::kFileSystem) continue;
    STARLING_ASSIGN(tree, CloneFileSystem(plan.mounts[i], plan.root.folder));
    // A file system that takes no part in this (NFS) keeps its owners.
    if (user_namespace) (void)MapIds(tree.get(), user_namespace, false).ok();
    sources.trees[i] = std::move(tree);
  }
  AsContainerRoot maker(plan.ids);
  STARLING_TRY(MountRoot(plan.root, user_namespace));
  if (user_namespace) STARLING_TRY(MakeDevicesBelow(plan));
  return sources;
}

Status Enter(const Plan& plan, Sources sources) {
  if (!plan.ids.empty()) STARLING_TRY(MountCopyOfRoot());
  // pivot_root(2), "pivot_root(".", ".")": the old root ends stacked under the new one and is detached from there. Not before
  // /proc and /sys are mounted: a user namespace may mount them only while it sees others.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return Error::Errno("pivot_root", plan.root.folder);
  STARLING_TRY(MountKernelFileSystems(plan));
  if (umount2(".", MNT_DETACH) != 0) return Error::Errno("umount", "old root");
  if (chdir("/") != 0) return Error::Errno("chdir", "/");
  STARLING_ASSIGN(null_device, OpenNullDevice());
  if (sources.host_shm) {
    STARLING_ASSIGN(target, OpenTarget("/dev/shm", false));
    STARLING_TRY(AttachTree(sources.host_shm, target, "/dev/shm"));
  }
  for (size_t i = 0; i < plan.mounts.size(); i++) {
    const Mount& mount = plan.mounts[i];
    if (mount.kind == Mount::Kind::kTmpfs) STARLING_TRY(MountTmpfs(mount));
    else STARLING_TRY(AttachBind(mount, sources.trees[i]));
  }
  STARLING_TRY(Protect(plan, null_device));
  if (plan.root.read_only) {
    UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    STARLING_TRY(SetMountAttributes(root.get(), MOUNT_ATTR_RDONLY, false, "/"));
  }
  return {};
}

}  // namespace starling::rootfs
