#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../sys/fs.h"
#include "internal.h"

namespace starling::rootfs {
namespace {

// /proc, /sys and /dev must be real folders: were they links, what is masked below them would lie elsewhere.
Status RequireFolder(const char* path, mode_t mode) {
  if (mkdir(path, mode) != 0 && errno != EEXIST) return Error::Errno("mkdir", path);
  struct stat info;
  if (lstat(path, &info) != 0) return Error::Errno("stat", path);
  if (!S_ISDIR(info.st_mode)) return Error{std::string("image: `") + path + "` must be a folder", ENOTDIR};
  return {};
}

Status MountAt(const char* type, const char* path, unsigned long flags, const char* options) {
  STARLING_TRY(RequireFolder(path, 0755));
  if (mount(type, path, type, flags, options) != 0) return Error::Errno(std::string("mount ") + type + " on", path);
  return {};
}

struct Node {
  const char* path;
  unsigned major;
  unsigned minor;
};

constexpr Node kNodes[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

constexpr const char* kLinks[][2] = {
    {"/proc/self/fd", "/dev/fd"},       {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
};

// Like every target it is looked up inside the root; a device that the image has there gives way.
Status MakeDevice(const Device& device, const IdMaps& ids) {
  if (device.path.size() < 2 || device.path[0] != '/' || device.path.back() == '/') {
    return Error{"device `" + device.path + "`: must be an absolute path below /", EINVAL};
  }
  UniqueFd folder(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (std::string above = fs::Parent(device.path); above != "/") {
    STARLING_ASSIGN(made, OpenTarget(above, false));
    folder = std::move(made);
  }
  std::string leaf = device.path.substr(device.path.rfind('/') + 1);
  if (leaf == "." || leaf == "..") return Error{"device `" + device.path + "`: must end in a name", EINVAL};
  mode_t type = device.block ? S_IFBLK : S_IFCHR;
  struct stat there;
  if (fstatat(folder.get(), leaf.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0) {
    if (there.st_rdev == makedev(device.major, device.minor) && (there.st_mode & S_IFMT) == type) return {};
    if (unlinkat(folder.get(), leaf.c_str(), 0) != 0) return Error::Errno("replace", device.path);
  }
  if (mknodat(folder.get(), leaf.c_str(), type | (device.mode & 0777), makedev(device.major, device.minor)) != 0) {
    return Error::Errno("mknod", device.path);
  }
  if (fchownat(folder.get(), leaf.c_str(), HostId(ids.uids, device.uid), HostId(ids.gids, device.gid), AT_SYMLINK_NOFOLLOW) != 0) {
    return Error::Errno("chown", device.path);
  }
  return {};
}

Status MountBelowDev(const Plan& plan) {
  STARLING_TRY(MountAt("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  STARLING_TRY(MountAt("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  if (plan.host_ipc) return RequireFolder("/dev/shm", 01777);
  std::string shm = "mode=1777,size=" + std::to_string(plan.shm_bytes);
  return MountAt("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, shm.c_str());
}

// Only where there is nothing but v2 can it be shown whole: programs that size themselves by cgroup look here.
Status MountCgroup(bool writable) {
  if (access("/sys/fs/cgroup", F_OK) != 0) return {};
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (writable ? 0UL : static_cast<unsigned long>(MS_RDONLY));
  if (mount("cgroup", "/sys/fs/cgroup", "cgroup2", flags, nullptr) == 0) return {};
  return {};  // No v2 on this kernel: the folder stays empty, as without a cgroup file system.
}

Status WriteSysctl(const Plan& plan, const std::string& name, const std::string& value) {
  std::string path = "/proc/sys/";
  for (char c : name) path.push_back(c == '.' ? '/' : c);
  // IPC and UTS names and everything of net belong to namespaces of the container; the rest is the host's.
  bool of_ipc = name.starts_with("kernel.shm") || name.starts_with("kernel.msg") || name == "kernel.sem" ||
                name.starts_with("fs.mqueue.");
  bool namespaced = (name.starts_with("net.") && !plan.host_network) || (of_ipc && !plan.host_ipc) ||
                    name == "kernel.domainname";
  if (!namespaced || path.find("..") != std::string::npos) {
    return Error{"sysctl `" + name + "`: not of the container's own namespaces", EPERM};
  }
  return fs::WriteControl(path, value);
}

// `null_device`: what was made before any mount of the container could cover it (CVE-2025-31133).
Status Mask(const std::string& path, const UniqueFd& null_device) {
  UniqueFd target(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!target) return {};  // Not on this kernel.
  struct stat info;
  if (fstat(target.get(), &info) != 0) return Error::Errno("stat", path);
  if (S_ISDIR(info.st_mode)) {
    constexpr unsigned long kFlags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount("tmpfs", FdPath(target).c_str(), "tmpfs", kFlags, "size=0,mode=755") == 0) return {};
    return Error::Errno("mask", path);
  }
  UniqueFd tree(open_tree(null_device.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!tree) return Error::Errno("mask", path);
  return AttachTree(tree, target, path);
}

Status MakeReadonly(const std::string& path) {
  UniqueFd tree(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!tree) {
    if (errno == ENOENT) return {};
    return Error::Errno("open_tree", path);
  }
  uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  STARLING_TRY(SetMountAttributes(tree.get(), attributes, true, path));
  if (move_mount(tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return Error::Errno("mount read-only", path);
  }
  return {};
}

}  // namespace

std::vector<std::string> DefaultMaskedPaths() {
  return {"/proc/acpi",        "/proc/asound",        "/proc/interrupts", "/proc/kcore",
          "/proc/keys",        "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
          "/proc/timer_list",  "/proc/timer_stats",   "/sys/devices/virtual/powercap", "/sys/firmware"};
}

std::vector<std::string> DefaultReadonlyPaths() {
  return {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
}

Status MakeDevices(const Plan& plan) {
  std::string options = "mode=755,size=65536k";
  if (!plan.ids.empty()) {
    options += ",uid=" + std::to_string(HostId(plan.ids.uids, 0)) + ",gid=" + std::to_string(HostId(plan.ids.gids, 0));
  }
  STARLING_TRY(MountAt("tmpfs", "/dev", MS_NOSUID | MS_STRICTATIME, options.c_str()));
  mode_t old_mask = umask(0);
  for (const Node& node : kNodes) {
    if (mknod(node.path, S_IFCHR | 0666, makedev(node.major, node.minor)) != 0) return Error::Errno("mknod", node.path);
  }
  for (const Device& device : plan.devices) STARLING_TRY(MakeDevice(device, plan.ids));
  umask(old_mask);
  for (const auto& link : kLinks) {
    if (symlink(link[0], link[1]) != 0 && errno != EEXIST) return Error::Errno("symlink", link[1]);
  }
  return {};
}

Status MountKernelFileSystems(const Plan& plan) {
  constexpr unsigned long kLocked = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  STARLING_TRY(MountAt("proc", "/proc", kLocked, nullptr));
  unsigned long sys_flags = plan.writable_sys ? kLocked : kLocked | MS_RDONLY;
  STARLING_TRY(MountAt("sysfs", "/sys", sys_flags, nullptr));
  STARLING_TRY(MountCgroup(plan.writable_sys));
  if (plan.ids.empty()) STARLING_TRY(MakeDevices(plan));
  return MountBelowDev(plan);
}

Result<UniqueFd> OpenNullDevice() {
  UniqueFd device(open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!device) return Error::Errno("open", "/dev/null");
  return device;
}

Status Protect(const Plan& plan, const UniqueFd& null_device) {
  for (const auto& [name, value] : plan.sysctls) STARLING_TRY(WriteSysctl(plan, name, value));
  for (const std::string& path : plan.masked_paths) STARLING_TRY(Mask(path, null_device));
  for (const std::string& path : plan.readonly_paths) STARLING_TRY(MakeReadonly(path));
  return {};
}

}  // namespace starling::rootfs
