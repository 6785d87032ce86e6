#include "mounts.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "../sys/fs.h"
#include "../sys/id_map.h"
#include "cgroup_mount.h"
#include "copy_up.h"

namespace starling::oci {
namespace {

std::string FdPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Result<UniqueFd> OpenAt2(int root, const std::string& path, uint64_t flags, uint64_t resolve) {
  open_how how;
  std::memset(&how, 0, sizeof how);
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  for (;;) {
    UniqueFd fd(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
    if (fd) return fd;
    // EAGAIN: something was renamed meanwhile, so that the kernel could not vouch for "..".
    if (errno != EAGAIN) return Error::Errno("open", path);
  }
}

Result<UniqueFd> OpenExisting(int root, const std::string& path) {
  return OpenAt2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

Status SetAttributes(int fd, uint64_t set, uint64_t cleared, uint64_t propagation, bool recursive) {
  mount_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  // Access times are one field of several bits: it is cleared before it is set.
  if ((set & MOUNT_ATTR__ATIME) != 0 || (cleared & MOUNT_ATTR__ATIME) != 0) cleared |= MOUNT_ATTR__ATIME;
  attributes.attr_set = set;
  attributes.attr_clr = cleared;
  attributes.propagation = propagation;
  unsigned flags = AT_EMPTY_PATH | (recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  if (mount_setattr(fd, "", flags, &attributes, sizeof attributes) != 0) return Error::Errno("mount_setattr", "");
  return {};
}

Error Named(const Mount& mount, std::string_view member, const Error& error) {
  return Error{mount.name + "." + std::string(member) + " `" + (member == "source" ? mount.source : mount.destination) + "`: " + error.message,
               error.number};
}

// A bind takes its propagation from the host's mount. Unless it is asked to share, what is mounted inside must not come
// back to the host, and what the host unmounts must go here, too.
uint64_t FirstPropagation(const MountOptions& options) {
  for (unsigned long flags : options.propagation) {
    if ((flags & MS_SHARED) != 0) return 0;
    if ((flags & MS_SLAVE) != 0) return MS_SLAVE;
  }
  return MS_PRIVATE;
}

Result<UniqueFd> CloneSource(const Config& config, const Mount& mount) {
  const MountOptions& options = mount.options;
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (options.recursive_bind) flags |= static_cast<unsigned>(AT_RECURSIVE);
  UniqueFd tree(open_tree(AT_FDCWD, mount.source.c_str(), flags));
  if (!tree) return Named(mount, "source", Error::Errno("open_tree", ""));
  auto prepare = [&]() -> Status {
    if (uint64_t propagation = FirstPropagation(options)) STARLING_TRY(SetAttributes(tree.get(), 0, 0, propagation, true));
    STARLING_TRY(SetAttributes(tree.get(), MountAttributes(options.set), MountAttributes(options.cleared), 0, false));
    if ((options.recursive_set | options.recursive_cleared) != 0) {
      STARLING_TRY(SetAttributes(tree.get(), options.recursive_set, options.recursive_cleared, 0, true));
    }
    if (!options.idmap) return {};
    const IdMaps& maps = mount.ids.empty() ? config.ids : mount.ids;
    if (maps.empty()) return Error{"`idmap` needs uidMappings and gidMappings", EINVAL};
    STARLING_ASSIGN(space, MakeUserNamespace(maps));
    return MapIds(tree.get(), space, options.recursive_idmap);
  };
  if (Status prepared = prepare(); !prepared.ok()) return Named(mount, "options", prepared.error());
  return tree;
}

// Files of /proc that tools like lxcfs replace. Anything else below it would hide what the runtime relies on.
bool MayCoverProc(const std::string& destination) {
  static constexpr std::string_view kNames[] = {"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo",
                                                "/proc/net/dev", "/proc/slabinfo",  "/proc/stat",    "/proc/swaps",
                                                "/proc/uptime"};
  return std::find(std::begin(kNames), std::end(kNames), destination) != std::end(kNames);
}

Result<UniqueFd> OpenTarget(int root, const Mount& mount, bool as_file) {
  auto target = OpenBelow(root, mount.destination, as_file, true);
  if (!target.ok()) return Named(mount, "destination", target.error());
  struct statfs info;
  if (fstatfs(target->get(), &info) != 0) return Named(mount, "destination", Error::Errno("statfs", ""));
  if (info.f_type == PROC_SUPER_MAGIC && !MayCoverProc(mount.destination)) {
    return Named(mount, "destination", Error{"lies inside /proc", EPERM});
  }
  // A link at /proc or /sys would put them where masks and sysctls do not look.
  if (mount.type == "proc" || mount.type == "sysfs") {
    auto plain = OpenAt2(root, mount.destination.substr(1), O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (!plain.ok()) return Named(mount, "destination", Error{"must not be a symbolic link", ELOOP});
  }
  return target;
}

Status Propagate(int root, const Mount& mount) {
  if (mount.options.propagation.empty()) return {};
  STARLING_ASSIGN(mounted, OpenExisting(root, mount.destination));
  for (unsigned long flags : mount.options.propagation) {
    if (::mount(nullptr, FdPath(mounted.get()).c_str(), nullptr, flags, nullptr) != 0) {
      return Named(mount, "options", Error::Errno("mount propagation", ""));
    }
  }
  return {};
}

Status AttachBind(int root, const Mount& mount, const UniqueFd& tree) {
  struct stat info;
  if (fstat(tree.get(), &info) != 0) return Named(mount, "source", Error::Errno("stat", ""));
  STARLING_ASSIGN(target, OpenTarget(root, mount, !S_ISDIR(info.st_mode)));
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  if (move_mount(tree.get(), "", target.get(), "", flags) != 0) return Named(mount, "destination", Error::Errno("mount", ""));
  return {};
}

Status MountNew(const Config& config, const cgroup::Cgroup& cgroup, int root, const Mount& mount) {
  STARLING_ASSIGN(target, OpenTarget(root, mount, false));
  if (mount.type == "cgroup" || mount.type == "cgroup2") {
    Status mounted = MountCgroups(mount, cgroup, root, config.HasNew(CLONE_NEWCGROUP));
    return mounted.ok() ? mounted : Named(mount, "destination", mounted.error());
  }
  std::string data = mount.options.data;
  if (!config.mount_label.empty()) data += (data.empty() ? "context=\"" : ",context=\"") + config.mount_label + "\"";
  unsigned long flags = mount.options.set;
  bool late_readonly = mount.options.copy_up && (flags & MS_RDONLY) != 0;
  if (late_readonly) flags &= ~static_cast<unsigned long>(MS_RDONLY);
  const char* source = mount.source.empty() ? mount.type.c_str() : mount.source.c_str();
  std::string path = FdPath(target.get());
  if (::mount(source, path.c_str(), mount.type.c_str(), flags, data.empty() ? nullptr : data.c_str()) != 0) {
    return Named(mount, "destination", Error::Errno("mount " + mount.type + " (options `" + data + "`)", ""));
  }
  STARLING_ASSIGN(mounted, OpenExisting(root, mount.destination));
  if (mount.options.copy_up) {
    if (Status copied = CopyFolder(target.get(), mounted.get()); !copied.ok()) return Named(mount, "options", copied.error());
  }
  uint64_t set = mount.options.recursive_set | (late_readonly ? MOUNT_ATTR_RDONLY : 0);
  if ((set | mount.options.recursive_cleared) == 0) return {};
  return SetAttributes(mounted.get(), set, mount.options.recursive_cleared, 0, true);
}

// `remount`, or a change of propagation alone: no new mount.
Status ChangeMount(int root, const Mount& mount) {
  auto existing = OpenExisting(root, mount.destination);
  if (!existing.ok()) return Named(mount, "destination", existing.error());
  if ((mount.options.set & MS_REMOUNT) == 0) return {};
  const char* data = mount.options.data.empty() ? nullptr : mount.options.data.c_str();
  unsigned long flags = mount.options.set | (mount.options.bind ? static_cast<unsigned long>(MS_BIND) : 0UL);
  if (::mount(nullptr, FdPath(existing->get()).c_str(), nullptr, flags, data) != 0) {
    return Named(mount, "destination", Error::Errno("remount", ""));
  }
  return {};
}

constexpr int kLinksMax = 40;

// mkdir -p below the root. Each step is opened anew inside it, so a link cannot lead a mkdir outside; a link to what is not
// there yet (/var/run in many images) is followed by hand, as a name inside the root.
Result<UniqueFd> MakeBelow(int root, const std::string& path, bool as_file, int links = 0) {
  if (links > kLinksMax) return Error::Errno("make", path, ELOOP);
  std::vector<std::string_view> parts = fs::Split(path, '/');
  std::erase(parts, std::string_view());
  UniqueFd folder(openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string done;
  for (size_t i = 0; i < parts.size(); i++) {
    std::string part(parts[i]);
    std::string above = done;
    done.append("/").append(part);
    auto next = OpenExisting(root, done);
    if (!next.ok() && next.error().number == ENOENT) {
      char link[PATH_MAX];
      ssize_t length = readlinkat(folder.get(), part.c_str(), link, sizeof link);
      if (length > 0 && length < static_cast<ssize_t>(sizeof link)) {
        std::string target(link, static_cast<size_t>(length));
        if (!target.starts_with('/')) target.insert(0, above + "/");
        for (size_t rest = i + 1; rest < parts.size(); rest++) target.append("/").append(parts[rest]);
        return MakeBelow(root, target, as_file, links + 1);
      }
      bool file = as_file && i + 1 == parts.size();
      int made = file ? mknodat(folder.get(), part.c_str(), S_IFREG | 0644, 0) : mkdirat(folder.get(), part.c_str(), 0755);
      if (made != 0 && errno != EEXIST) return Error::Errno("make", done);
      next = OpenExisting(root, done);
    }
    if (!next.ok()) return next;
    folder = std::move(*next);
  }
  return folder;
}

}  // namespace

Result<UniqueFd> OpenBelow(int root, const std::string& path, bool as_file, bool make) {
  auto existing = OpenExisting(root, path);
  if (existing.ok() || !make || existing.error().number != ENOENT) return existing;
  return MakeBelow(root, path, as_file);
}

Result<Sources> CloneSources(const Config& config) {
  Sources sources;
  for (const Mount& mount : config.mounts) {
    sources.trees.emplace_back();
    if (!mount.options.bind || (mount.options.set & MS_REMOUNT) != 0) continue;
    STARLING_ASSIGN(tree, CloneSource(config, mount));
    sources.trees.back() = std::move(tree);
  }
  UniqueFd root(open_tree(AT_FDCWD, config.root_path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!root) return Error::Errno("root.path", config.root_path);
  struct stat info;
  if (fstat(root.get(), &info) != 0 || !S_ISDIR(info.st_mode)) return Error::Errno("root.path", config.root_path, ENOTDIR);
  // Sharing starts inside: towards the host the most there is, is to follow it.
  bool follows = (config.root_propagation & static_cast<unsigned long>(MS_SLAVE | MS_SHARED)) != 0;
  STARLING_TRY(SetAttributes(root.get(), 0, 0, follows ? MS_SLAVE : MS_PRIVATE, true));
  sources.root = std::move(root);
  if (!config.masked_paths.empty()) {
    UniqueFd null(open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!null) return Error::Errno("open_tree", "/dev/null");
    STARLING_TRY(SetAttributes(null.get(), MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, false));
    sources.null_device = std::move(null);
  }
  return sources;
}

Status MountAll(const Config& config, const cgroup::Cgroup& cgroup, Sources& sources, int root) {
  for (size_t i = 0; i < config.mounts.size(); i++) {
    const Mount& mount = config.mounts[i];
    if (sources.trees[i]) {
      STARLING_TRY(AttachBind(root, mount, sources.trees[i]));
    } else if ((mount.options.set & MS_REMOUNT) != 0 || mount.type.empty()) {
      STARLING_TRY(ChangeMount(root, mount));
    } else {
      STARLING_TRY(MountNew(config, cgroup, root, mount));
    }
    STARLING_TRY(Propagate(root, mount));
    sources.trees[i].reset();
  }
  return {};
}

}  // namespace starling::oci
